"""The parameters that every flow takes: a profile by name, and overrides of single fields."""

import typing
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from bbqrec_core.profile import Profile, load_profile, overrides_model

if TYPE_CHECKING:
    Overrides = BaseModel
else:
    Overrides = overrides_model()


def resolve(profile: str, overrides: BaseModel | None) -> Profile:
    """Load a profile and merge into it what was given, exactly as `extends` merges.

    Raises:
        ProfileError: See `load_profile`.
    """
    return load_profile(profile, given(overrides) if overrides is not None else None)


def given(overrides: BaseModel) -> dict[str, Any]:
    """What was set in overrides, nested.

    A form that sends null for a field left empty means nothing by it, unless null is a value there.
    """
    return _without_idle_nulls(_as_sent(overrides), Profile, "", [])


def idle_nulls(overrides: BaseModel) -> list[str]:
    """The fields, dotted, that were set to null although null is no value there: a form's empty fields, but a mistake on a command line."""
    found: list[str] = []
    _without_idle_nulls(_as_sent(overrides), Profile, "", found)
    return found


def _as_sent(overrides: BaseModel) -> dict[str, Any]:
    return overrides.model_dump(mode="json", exclude_unset=True)


def _without_idle_nulls(values: dict[str, Any], model: type[BaseModel], prefix: str, idle: list[str]) -> dict[str, Any]:
    """Leave out the nulls that are no values, and note where they were."""
    kept = {}
    for name, value in values.items():
        annotation = model.model_fields[name].annotation
        section = _section(annotation)
        if value is None and not _takes_null(annotation):
            idle.append(prefix + name)
        elif isinstance(value, dict) and section is not None:
            inside = _without_idle_nulls(value, section, f"{prefix}{name}.", idle)
            if inside or not value:  # a section of which every field was left empty was itself left empty
                kept[name] = inside
        else:
            kept[name] = value
    return kept


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section in an annotation such as `TextConfig` or `TextConfig | None`."""
    for part in (annotation, *typing.get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _takes_null(annotation: Any) -> bool:
    return type(None) in typing.get_args(annotation)
