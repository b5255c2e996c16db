"""What a leaderboard consists of: the YAML file that `bbqrec leaderboard` is given."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, Field, ValidationError, field_validator

from bbqrec_core.config import Section
from bbqrec_core.errors import ProfileError

Named = TypeVar("Named", bound=Section)
FOLDER = "leaderboards"
"""Package of the leaderboards that ship with the project."""


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) != len(seeds):
        raise ValueError("a seed may be named only once")
    return seeds


Seeds = Annotated[tuple[int, ...], AfterValidator(_distinct)]


class Split(Section):
    """A data set as a profile reads it."""

    profile: str = Field(description="a shipped profile's name, or the path of a YAML file")
    title: str = Field(min_length=1, description="what the page calls it")
    published: str = Field("", description="its name in the file of published numbers; empty = none are known")
    seeds: Seeds | None = Field(None, min_length=1, description="instead of the leaderboard's own, for a split that takes long")
    set: dict[str, Any] = Field({}, description="profile fields to replace, nested as in a profile")
    note: str = Field("", description="what a reader of its tables should know")


class Variant(Section):
    """The model with something changed: trained anew, shown beside the model as its profile has it."""

    name: str = Field(min_length=1, description="what the page calls it")
    set: dict[str, Any] = Field(description="profile fields to replace, nested as in a profile")


class Leaderboard(Section):
    """A leaderboard's file."""

    title: str = Field(min_length=1)
    seeds: Seeds = Field((1, 2, 3, 4, 5), min_length=1, description="each trains anew from `quantize` on, on the same data")
    published: str = Field("", description="file of published numbers, beside the leaderboard's; empty = none")
    splits: tuple[Split, ...] = Field(min_length=1)
    variants: tuple[Variant, ...] = ()

    @field_validator("splits")
    @classmethod
    def _no_title_twice(cls, splits: tuple[Split, ...]) -> tuple[Split, ...]:
        return _each_of_its_own(splits, "title")

    @field_validator("variants")
    @classmethod
    def _no_name_twice(cls, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
        return _each_of_its_own(variants, "name")

    def seeds_of(self, split: Split) -> tuple[int, ...]:
        """The seeds that a split is run with."""
        return split.seeds or self.seeds

    def reduced(self, seeds: Sequence[int] = (), profiles: Sequence[str] = ()) -> "Leaderboard":
        """The same with other seeds for every split, or with the splits of some profiles alone; empty changes nothing."""
        splits = tuple(split for split in self.splits if not profiles or split.profile in profiles)
        values = self.model_copy(update={"splits": splits}).model_dump()
        if seeds:
            values |= {"seeds": seeds, "splits": [{**split, "seeds": None} for split in values["splits"]]}
        return Leaderboard.model_validate(values)


def _each_of_its_own(sections: tuple[Named, ...], field: str) -> tuple[Named, ...]:
    """The sections, if no two have the same value of a field."""
    if len({getattr(section, field) for section in sections}) != len(sections):
        raise ValueError(f"each {type(sections[0]).__name__.lower()} needs a {field} of its own")
    return sections


def find_leaderboard(name: str) -> Path:
    """Path of a leaderboard: a shipped one by its name, any other by its file's path.

    Raises:
        ProfileError: There is none.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    shipped = {Path(str(entry)).stem: Path(str(entry)) for entry in resources.files(FOLDER).iterdir() if entry.name.endswith(".yaml")}
    if name not in shipped:
        raise ProfileError(
            f"There is no leaderboard '{name}'.", f"There are: {', '.join(sorted(shipped))}; or give the path of a .yaml file."
        )
    return shipped[name]


def load_leaderboard(path: Path) -> Leaderboard:
    """Read and validate a leaderboard's file.

    Raises:
        ProfileError: It cannot be read, or a key or value does not fit; the message names the place.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ProfileError(f"Leaderboard {path} cannot be read: {error}.", "Check the path, and that it is YAML.") from None
    if not isinstance(values, dict):
        raise ProfileError(f"Leaderboard {path} holds no mapping of keys to values.", "Start it with `title:` and `splits:`.")
    try:
        return Leaderboard.model_validate(values)
    except ValidationError as error:
        lines = [f"Leaderboard {path}: '{'.'.join(map(str, problem['loc']))}': {problem['msg']}." for problem in error.errors()]
        raise ProfileError("\n".join(lines), "leaderboards/research.yaml shows every key.") from None
