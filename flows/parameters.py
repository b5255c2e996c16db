"""The parameters that every flow takes: a profile by name, and overrides of single fields."""

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
    return _without_idle_nulls(overrides.model_dump(mode="json", exclude_unset=True), Profile)


def _without_idle_nulls(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    kept = {}
    for name, value in values.items():
        annotation = model.model_fields[name].annotation
        if isinstance(value, dict) and isinstance(annotation, type) and issubclass(annotation, BaseModel):
            kept[name] = _without_idle_nulls(value, annotation)
        elif value is not None or _takes_null(annotation):
            kept[name] = value
    return kept


def _takes_null(annotation: Any) -> bool:
    return type(None) in getattr(annotation, "__args__", ())
