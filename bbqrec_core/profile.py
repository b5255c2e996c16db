"""One YAML file, one run: finds, loads, merges and validates profiles.

Profiles are found by name among those that ship with the project, and before them in the folder that BBQREC_PROFILES names; one there
may extend the shipped profile of its own name. A profile `extends` at most one other. Mappings merge key by key, everything else replaces;
where data of another kind is read, `source` and `description` begin anew.
Overrides given on the command line or as Prefect flow parameters merge in exactly the same way. The sections themselves live in the
packages' own `config.py`.
"""

import difflib
import functools
import os
import re
import shlex
import types
import typing
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from bbqrec_core.baselines.config import BaselinesConfig
from bbqrec_core.config import Section, local_field
from bbqrec_core.embedding.config import EmbeddingConfig
from bbqrec_core.errors import ProfileError
from bbqrec_core.evaluation.config import EvaluationConfig
from bbqrec_core.gate_config import GatesConfig
from bbqrec_core.ingest.config import IngestConfig, SourceConfig
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.report.config import ReportConfig
from bbqrec_core.sequence.config import RefitConfig, SearchConfig, SequenceConfig

FOLDER_VARIABLE = "BBQREC_PROFILES"
"""Environment variable that names a folder of one's own profiles."""
NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]*$"
"""Names of profiles: what is a name everywhere it becomes part of one, in MLflow, in Prefect and in the shell."""
LONGEST_NAME = 64
OF_ANY_SOURCE = ("raw", "download")
"""Fields of `source` that say where data lies and how it is fetched, whatever it is."""


class ComputeConfig(Section):
    """Where to compute. Nothing here changes what is computed, beyond rounding and, on several devices, what dropout draws."""

    device: str = local_field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto takes a GPU when there is one")
    devices: int = local_field(
        1, ge=1, le=64, description="GPUs of this machine, or processes on the CPU, that train the sequence model together"
    )
    threads: int = local_field(0, ge=0, description="CPU threads for torch and DuckDB; 0 = all cores")

    @model_validator(mode="after")
    def _devices_are_of_one_kind(self) -> "ComputeConfig":
        if self.devices > 1 and self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"devices is {self.devices}, which {self.device} is not: set device to cuda, cpu or auto")
        return self


class TrackingConfig(Section):
    """Names under which MLflow keeps what a run made."""

    experiment: str = Field(
        "",
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9 ._/-]*[A-Za-z0-9._-])?)?$",
        max_length=200,
        description="MLflow experiment, of letters, digits, spaces and ._/-; empty = bbqrec/<profile>",
    )
    model_name: str = Field(
        "",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$",
        max_length=200,
        description="registered model, of letters, digits and ._-; empty = bbqrec-<profile>",
    )


class Profile(Section):
    """A whole run: what to read, which encoders, how large, what to demand, where to track."""

    name: str = Field(
        pattern=NAME_PATTERN,
        max_length=LONGEST_NAME,
        description="the profile's file name without .yaml, of small letters, digits, _ and -",
    )
    description: str = ""
    seed: int = Field(2026, ge=0, description="the only source of randomness")
    data_seed: int = Field(
        default_factory=lambda given: given.get("seed", 0),
        ge=0,
        description="seed of the synthetic shop, of ties in time and of how users and items are numbered; by default `seed`",
    )
    source: SourceConfig
    ingest: IngestConfig = IngestConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    quantization: QuantizationConfig = QuantizationConfig()
    sequence: SequenceConfig = SequenceConfig()
    refit: RefitConfig = RefitConfig()
    search: SearchConfig = SearchConfig()
    baselines: BaselinesConfig = BaselinesConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    gates: GatesConfig = GatesConfig()
    report: ReportConfig = ReportConfig()
    tracking: TrackingConfig = TrackingConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _something_to_embed(self) -> "Profile":
        if self.embedding.text is None and self.embedding.image is None and self.source.kind != "sequences":
            raise ValueError("at least one of `embedding.text` and `embedding.image` must be there")
        return self

    @property
    def baseline_history(self) -> int:
        """Items of a history that baselines and prior look at: as many as our model, unless the profile says otherwise."""
        return self.baselines.max_history or self.sequence.max_history

    @property
    def experiment(self) -> str:
        """MLflow experiment of this profile."""
        return self.tracking.experiment or f"bbqrec/{self.name}"

    @property
    def model_name(self) -> str:
        """Registered model of this profile."""
        return self.tracking.model_name or f"bbqrec-{self.name.replace('_', '-')}"


def available_profiles() -> list[str]:
    """Names of the profiles in the folder that BBQREC_PROFILES names and of those that ship with the project, sorted."""
    return sorted({entry.name.removesuffix(".yaml") for folder in _folders() for entry in folder.iterdir() if entry.name.endswith(".yaml")})


def _folders() -> list[Traversable]:
    """Where profiles are found by name, the first folder that has one winning."""
    shipped = resources.files("profiles")
    own = os.environ.get(FOLDER_VARIABLE)
    if not own:
        return [shipped]
    if not Path(own).is_dir():
        raise ProfileError(f"{FOLDER_VARIABLE} names {own}, which is no folder.", "Correct it, or unset it to use the shipped profiles.")
    return [Path(own), shipped]


def load_profile(name: str, overrides: Mapping[str, Any] | None = None) -> Profile:
    """Load, merge and validate a profile.

    Args:
        name: A shipped profile's name, or the path of a YAML file.
        overrides: Fields that replace the profile's, nested as in the YAML file.

    Raises:
        ProfileError: The profile is unknown, unreadable, extends in a circle, or has a key or value that does not fit; the message
            names the place and the nearest valid key. Or its file's name cannot be a profile's.
    """
    path, values = _read_with_parents(name, ())
    _require_name(Path(path))
    if overrides:
        values = extend(values, overrides)
    values = {**values, "name": Path(path).stem}
    where = f"profile '{name}'" + (" with overrides" if overrides else "")
    try:
        return Profile.model_validate(values)
    except ValidationError as error:
        raise ProfileError(_explain(error, where), "The valid keys and their defaults: bbqrec profiles --show demo") from None


def _require_name(path: Path) -> None:
    """See that a file's name can be a profile's name."""
    if re.fullmatch(NAME_PATTERN[1:-1], path.stem) and len(path.stem) <= LONGEST_NAME:
        return
    better = re.sub(r"[^a-z0-9_-]+", "_", path.stem.lower()).strip("_-")[:LONGEST_NAME] or "mine"
    raise ProfileError(
        f"Profile file {path}: a profile is named after its file, and '{path.stem}' cannot be a name. A name holds small letters, digits, "
        f"_ and -, begins with a letter or digit, and has at most {LONGEST_NAME} characters.",
        f"Rename the file: mv {shlex.quote(str(path))} {shlex.quote(str(path.with_name(better + path.suffix)))}",
    )


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two nested mappings: mappings key by key, everything else replaced by `over`."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def extend(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a profile's fields over those that it extends; of data of another kind nothing that was said of the other data holds."""
    before, now = (values.get("source") for values in (base, over))
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        kind = before.get("kind", SourceConfig.model_fields["kind"].default)
        if now.get("kind", kind) != kind:
            kept = {key: before[key] for key in OF_ANY_SOURCE if key in before}
            base = {**{key: value for key, value in base.items() if key != "description"}, "source": kept}
    return merge(base, over)


def flatten(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Fields that lie in sections by their dotted names, with their values."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _read_with_parents(name: str, children: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    path, text = _read_text(name, children)
    if path in children:
        raise ProfileError(f"Profiles extend one another in a circle: {' -> '.join([*children, path])}.", "Remove one `extends:`.")
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ProfileError(f"Profile {path} is not valid YAML: {error}", "Compare it with one of the shipped profiles.") from None
    if not isinstance(values, dict):
        raise ProfileError(f"Profile {path} holds no mapping of keys to values.", "Start it with `extends: demo`, for instance.")
    parent = values.pop("extends", None)
    if parent is None:
        return path, values
    if not isinstance(parent, str):
        raise ProfileError(f"Profile {path}: `extends` must name one profile, not {parent!r}.", "Write `extends: demo`.")
    if parent.endswith((".yaml", ".yml")) and not Path(parent).is_absolute():
        parent = str(Path(path).parent / parent)
    return path, extend(_read_with_parents(parent, (*children, path))[1], values)


def _read_text(name: str, children: tuple[str, ...]) -> tuple[str, str]:
    if name.endswith((".yaml", ".yml")):
        try:
            return name, Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"Profile file {name} cannot be read: {error}.", "Check the path.") from None
    entries = [entry for folder in _folders() if (entry := folder / f"{name}.yaml").is_file()]
    if entries:
        other = [entry for entry in entries if str(entry) not in children]  # one's own `demo` may extend the shipped one
        entry = (other or entries)[0]
        try:
            return str(entry), entry.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"Profile file {entry} cannot be read: {error}.", "Check the file and its permissions.") from None
    near = difflib.get_close_matches(name, available_profiles(), n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    raise ProfileError(
        f"There is no profile '{name}'.", f"{hint}There are: {', '.join(available_profiles())}; or give the path of a .yaml file."
    )


def _explain(error: ValidationError, where: str) -> str:
    lines = []
    for problem in error.errors():
        location = tuple(str(part) for part in problem["loc"])
        key = ".".join(location)
        if problem["type"] == "extra_forbidden":
            near = nearest_key(location)
            lines.append(f"{where}: there is no key '{key}'." + (f" Did you mean '{near}'?" if near else ""))
        elif problem["type"] == "missing":
            lines.append(f"{where}: the key '{key}' is missing.")
        else:
            lines.append(f"{where}: '{key}' is {problem['input']!r}: {problem['msg'].removeprefix('Value error, ')}.")
    return "\n".join(lines)


def nearest_key(location: tuple[str, ...]) -> str | None:
    """The valid dotted key nearest to a misspelt one: among its siblings first, then anywhere in the profile."""
    keys = list(profile_keys())
    parent = ".".join(location[:-1])
    siblings = {key.rsplit(".", 1)[-1]: key for key in keys if key.rpartition(".")[0] == parent}
    near = difflib.get_close_matches(location[-1], siblings, n=1, cutoff=0.6)
    if near:
        return siblings[near[0]]
    leaves = {key.rsplit(".", 1)[-1]: key for key in keys}
    near = difflib.get_close_matches(location[-1], leaves, n=1, cutoff=0.7)
    return leaves[near[0]] if near else None


@functools.cache
def profile_keys() -> tuple[str, ...]:
    """Every valid dotted key of a profile."""
    return tuple(_keys(Profile, ""))


def _keys(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, info in model.model_fields.items():
        yield prefix + name
        for section in _sections(info.annotation):
            yield from _keys(section, f"{prefix}{name}.")


def _sections(annotation: Any) -> list[type[Section]]:
    """The Section classes in an annotation such as `TextConfig` or `TextConfig | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return [section for part in typing.get_args(annotation) for section in _sections(part)]
    return []


@functools.cache
def overrides_model() -> type[BaseModel]:
    """The profile with every field optional and unknown ones forbidden, for Prefect's form and validation.

    A field that is not given stays unset, so that `model_dump(exclude_unset=True)` merges exactly as `extends` does.
    """
    return _optional(Profile, "Overrides", skip={"name"})


def _optional(model: type[BaseModel], name: str, skip: frozenset[str] | set[str] = frozenset()) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for field, info in model.model_fields.items():
        if field in skip:
            continue
        sections = _sections(info.annotation)
        annotation: Any = info.annotation
        if len(sections) == 1:
            annotation = _optional(sections[0], f"{sections[0].__name__}Overrides")
        elif info.metadata:
            annotation = typing.Annotated[(annotation, *info.metadata)]
        fields[field] = (annotation | None, Field(default=None, description=info.description))
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
