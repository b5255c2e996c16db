"""The base of every profile section.

Each package owns a `config.py` with its section; `profile.py` composes them. What belongs here is only what all sections share.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

LOCAL = "local"
"""Marks fields that say where or how fast to work and never change a result: they stay out of fingerprints."""


class Section(BaseModel):
    """A frozen profile section that forbids unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return what of this section decides results, as JSON-ready values: all fields but the local ones."""
        fields: dict[str, Any] = {}
        for name, info in type(self).model_fields.items():
            if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get(LOCAL):
                continue
            value = getattr(self, name)
            fields[name] = value.fingerprint_fields() if isinstance(value, Section) else self.model_dump(mode="json", include={name})[name]
        return fields


def local_field(default: Any, **constraints: Any) -> Any:
    """A field that never enters a fingerprint, such as a folder, a memory limit or a number of threads."""
    return Field(default, json_schema_extra={LOCAL: True}, **constraints)


Share = Annotated[float, Field(ge=0.0, le=1.0)]
"""A share between 0 and 1."""
