"""`--set section.field=value` to overrides of a profile, refused here if they do not fit."""

from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from bbqrec_core.errors import ProfileError
from bbqrec_core.profile import merge, nearest_key


def as_options(assignments: Sequence[str]) -> list[str]:
    """Assignments as they are given to a command."""
    return [word for assignment in assignments for word in ("--set", assignment)]


def parse_overrides(assignments: list[str]) -> BaseModel | None:
    """Parse assignments; values are read as YAML, so numbers, lists and null work.

    Raises:
        ProfileError: An assignment is no assignment, names no field, or sets null where null is no value.
    """
    from flows.parameters import Overrides, idle_nulls

    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ProfileError(f"'{assignment}' is no assignment.", "Write --set section.field=value, such as --set sequence.epochs=5.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ProfileError(f"The value of '{assignment}' cannot be read: {error}.", "Write it as in a YAML file.") from None
        for part in reversed(key.strip().split(".")):
            value = {part: value}
        values = merge(values, value)
    if not values:
        return None
    try:
        overrides = Overrides(**values)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            location = tuple(str(part) for part in problem["loc"])
            near = nearest_key(location) if problem["type"] == "extra_forbidden" else None
            near = None if near == ".".join(location) else near  # `name`, a field that cannot be set
            said = "there is no such field" if problem["type"] == "extra_forbidden" else problem["msg"]
            lines.append(f"--set {'.'.join(location)}: {said}." + (f" Did you mean '{near}'?" if near else ""))
        raise ProfileError("\n".join(lines), "The fields and their values: bbqrec profiles --show demo") from None
    if idle := idle_nulls(overrides):
        raise ProfileError(
            "\n".join(f"--set {field}: null is no value of this field." for field in idle),
            "Give it a value, or leave it away to keep the profile's. An empty text is written --set \"section.field=''\".",
        )
    return overrides
