"""What a leaderboard consists of: the YAML file that `bbqrec leaderboard` is given."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, Field, ValidationError, field_validator

from bbqrec_core.config import Section
from bbqrec_core.errors import ProfileError
from bbqrec_core.refitted import is_refitted

Named = TypeVar("Named", bound=Section)
DECIDED = ("seed", "data_seed", "source", "ingest", "refit")
"""Fields that a variant shares with the model that it is compared with, and that variants never need."""
FOLDER = "leaderboards"
"""Package of the leaderboards that ship with the project."""


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) != len(seeds):
        raise ValueError("a seed may be named only once")
    return seeds


Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], AfterValidator(_distinct)]


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

    @field_validator("name")
    @classmethod
    def _not_as_if_refitted(cls, name: str) -> str:
        if is_refitted(name):
            raise ValueError("it is trained on train alone, and must not be named as if it had learned from validation too")
        return name

    @field_validator("set")
    @classmethod
    def _of_the_same_run(cls, values: dict[str, Any]) -> dict[str, Any]:
        if taken := [field for field in DECIDED if field in values]:
            raise ValueError(f"{' and '.join(taken)} cannot be set: a variant is compared with the model of the same seed and data")
        return values


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


def load_leaderboard(path: Path, seeds: Sequence[int] = (), profiles: Sequence[str] = ()) -> Leaderboard:
    """Read and validate a leaderboard's file.

    Args:
        path: The YAML file.
        seeds: Instead of those that it names; empty = as it names them.
        profiles: Only the splits of these profiles; empty = all.

    Raises:
        ProfileError: It cannot be read, a key or value does not fit, a seed is no seed, or there is no such split.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ProfileError(f"Leaderboard {path} cannot be read: {error}.", "Check the path, and that it is YAML.") from None
    if not isinstance(values, dict):
        raise ProfileError(f"Leaderboard {path} holds no mapping of keys to values.", "Start it with `title:` and `splits:`.")
    try:
        whole = Leaderboard.model_validate(values)
    except ValidationError as error:
        raise ProfileError(f"Leaderboard {path}: {_told(error)}", "leaderboards/research.yaml shows every key.") from None
    if unknown := set(profiles) - {split.profile for split in whole.splits}:
        raise ProfileError(f"Leaderboard {path} has no split of the profile {', '.join(sorted(unknown))}.", "Leave --only away.")
    try:
        return whole.reduced(seeds, profiles)
    except ValidationError as error:
        raise ProfileError(
            f"Leaderboard {path} cannot be run like this: {_told(error)}", "A seed is a number from 0 on, named once."
        ) from None


def _told(error: ValidationError) -> str:
    return "\n".join(f"'{'.'.join(map(str, problem['loc']))}': {problem['msg']}." for problem in error.errors())
