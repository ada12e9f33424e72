"""What every part of a job spec is made of: a strict, frozen model that names the nearest known field."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from gansvc.errors import SpecError, unknown_name

T = TypeVar("T")


class Section(BaseModel):
    """A strict, frozen section of a spec: no unknown field, no silent conversion, no NaN or infinity."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        populate_by_name=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_fields(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            known = {field.alias or name for name, field in cls.model_fields.items()}
            for key in data:
                if key not in known and key not in cls.model_fields:
                    # The path names the section; the message names the field, so that it reads as one sentence.
                    raise PydanticCustomError("unknown_field", "{text}", {"text": unknown_name("field", key, known)})
        return data


def lookup(table: Mapping[str, T], kind: str, name: object) -> T:
    """Return the table's entry of that name.

    Raises:
        SpecError: the table has no such entry; the message holds the nearest name and the whole list.
    """
    if not isinstance(name, str) or name not in table:
        raise SpecError(unknown_name(kind, name, table))
    return table[name]


def named(value: Any, table: Mapping[str, Any], kind: str) -> Any:
    """Turn the shorthand ``lsgan`` into ``{name: lsgan}`` and refuse a name that the table lacks."""
    data = {"name": value} if isinstance(value, str) else value
    if isinstance(data, Mapping):
        try:
            lookup(table, kind, data.get("name"))
        except SpecError as error:
            raise PydanticCustomError("unknown_name", "{text}", {"text": str(error)}) from None
    return data
