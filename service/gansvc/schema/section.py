"""Strict base model for the sections of a job spec; it names the nearest known field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from gansvc.errors import SpecError, unknown_name
from gansvc.schema.explain import format_value, refusal

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
                    raise refusal(unknown_name("field", key, known))
        return data

    @model_serializer(mode="wrap")
    def _keep_null_that_is_no_default(
        self, write: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """Write the null that turns off what is on by default, even where nulls are left out."""
        data: dict[str, Any] = write(self)
        if info.exclude_none:
            off = {name for name, field in type(self).model_fields.items() if field.default is not None}
            data |= {name: None for name in off - set(info.exclude or ()) if getattr(self, name) is None}
        return data

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        """Give a field with another default than its parent's the parent's description, which pydantic drops."""
        written = handler(schema)
        properties = handler.resolve_ref_schema(written).get("properties", {})
        for base in cls.__mro__:
            for name, field in base.model_fields.items() if issubclass(base, Section) else ():
                key = field.alias or name
                if field.description and key in properties:
                    properties[key].setdefault("description", field.description)
        return written


@dataclass(frozen=True, eq=False)
class Shorthand:
    """Marks a field that also takes a name of a table: ``read`` turns the name into what it stands for.

    The JSON schema says so too: it takes the names, and lists them where the section's own name goes.
    """

    table: Mapping[str, object]
    read: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.read, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return _with_short_names(handler(schema), handler, self.table)


@dataclass(frozen=True, eq=False)
class TableSection:
    """Marks a field that takes a section of a table, and ``lsgan`` for ``{name: lsgan}``.

    The table is read whenever a value is validated or the JSON schema is written, so that a new entry is valid at once.
    """

    table: Mapping[str, type[Section]]
    kind: str
    """What errors call an entry."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._validated, core_schema.any_schema())

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        sections = {name: section.__pydantic_core_schema__ for name, section in self.table.items()}
        written = handler(core_schema.tagged_union_schema(sections, discriminator="name"))
        return _with_short_names(written, handler, self.table)

    def _validated(self, value: Any) -> Section:
        data = named(value, self.table, self.kind)
        if not isinstance(data, Section):
            return self.table[data["name"]].model_validate(data)
        if type(data) not in self.table.values():
            raise refusal(f"{format_value(data)} is no {self.kind} of the table")
        return data


def _with_short_names(
    written: JsonSchemaValue, handler: GetJsonSchemaHandler, table: Mapping[str, object]
) -> JsonSchemaValue:
    for member in written.get("oneOf", [written]):
        section = handler.resolve_ref_schema(member)
        if "name" in section.get("properties", {}):
            name = section["properties"]["name"]
            name |= {} if "const" in name else {"enum": sorted(table)}
            section["required"] = sorted({"name", *section.get("required", ())})
    short: JsonSchemaValue = {"type": "string", "enum": sorted(table)}
    if "oneOf" in written:
        return written | {"oneOf": [short, *written["oneOf"]]}
    return {"anyOf": [short, written]}


@dataclass(frozen=True, eq=False)
class NameIn:
    """Marks a text that must be a name of a table; the JSON schema lists the names."""

    table: Mapping[str, Any]
    kind: str
    """What the table's entries are, for the error."""
    fits: Callable[[Any], bool] = lambda entry: True
    """Tells which entries may be named."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"enum": sorted(self._names())}

    def _check(self, value: Any) -> Any:
        return check_name(value, self._names(), self.kind) if isinstance(value, str) else value

    def _names(self) -> dict[str, Any]:
        return {name: entry for name, entry in self.table.items() if self.fits(entry)}


def section_of(table: Mapping[str, object], kind: str) -> Shorthand:
    """Mark a field that takes ``lsgan`` for ``{name: lsgan}``, and only names of the table."""
    return Shorthand(table, lambda value: named(value, table, kind))


def named(value: Any, table: Mapping[str, object], kind: str) -> Any:
    """Turn the shorthand ``lsgan`` into ``{name: lsgan}`` and refuse a name that the table lacks."""
    data = {"name": value} if isinstance(value, str) else value
    if isinstance(data, Section):
        return data
    if not isinstance(data, Mapping):
        raise refusal(
            f"{format_value(value)} doesn't fit; it must be a name or a mapping; known: {', '.join(sorted(table))}"
        )
    if "name" not in data:
        raise refusal(f"name is missing; known: {', '.join(sorted(table))}")
    check_name(data["name"], table, kind)
    return data


def check_name(name: Any, table: Mapping[str, object], kind: str) -> Any:
    """Return a name of the table, or refuse it in a validator's way."""
    try:
        lookup(table, kind, name)
    except SpecError as error:
        raise refusal(str(error)) from None
    return name


def lookup(table: Mapping[str, T], kind: str, name: object) -> T:
    """Return the table's entry of that name.

    Raises:
        SpecError: the table has no such entry; the message holds the nearest name and the whole list.
    """
    if not isinstance(name, str) or name not in table:
        raise SpecError(unknown_name(kind, name, table))
    return table[name]
