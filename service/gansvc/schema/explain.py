"""Sentences on what is wrong with a spec: our validators' own words, and pydantic's findings put into ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from gansvc.errors import SpecError
from gansvc.escapes import printable

M = TypeVar("M", bound=BaseModel)
Location = tuple[int | str, ...]

OWN: Final = "gansvc"
"""Type of our own findings, whose sentences already hold the value and the fix."""

MAX_SENTENCES = 10
"""Sentences that are worth reading at once."""

_MUST = {
    "model_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
}


def refusal(text: str, below: str = "") -> PydanticCustomError:
    """Return what a validator raises: a sentence with the value and the fix.

    ``below`` goes on from the path of what is validated to the field at fault: ``.space.critic_lr``.
    """
    return PydanticCustomError(OWN, "{text}", {"text": text, "below": below})


def validate(model: type[M], data: Mapping[str, Any]) -> M:
    """Validate plain data as a model; every finding becomes one line with the path, the value and the fix.

    Raises:
        SpecError: the data doesn't fit.
    """
    try:
        return model.model_validate(_frozen(data))
    except ValidationError as error:
        errors = _findings(error)
        # pydantic calls a list with a bad item also too short: the item's own finding says it better.
        errors = [e for e in errors if e["type"] != "too_short" or not any(_within(o["loc"], e["loc"]) for o in errors)]
        sentences = list(dict.fromkeys(_sentence(finding, data) for finding in errors[: 5 * MAX_SENTENCES]))
        left = len(errors) - len(errors[: 5 * MAX_SENTENCES]) + len(sentences[MAX_SENTENCES:])
        more = [f"and {left} more like these; mend them first"] if left else []
        raise SpecError("\n".join([*sentences[:MAX_SENTENCES], *more])) from None


def _findings(error: ValidationError) -> list[Any]:
    try:
        return error.errors(include_url=False)
    except UnicodeEncodeError as wrong:  # pydantic can't write such a key either
        raise SpecError(
            f"the field {format_value(wrong.object)} holds half of a surrogate pair; write the whole sign"
        ) from None


def reason(finding: Mapping[str, Any]) -> str:
    """Return what pydantic found, as the end of a sentence that begins with ``it``."""
    if finding["type"] in _MUST:
        return _MUST[finding["type"]]
    text = re.sub(r"^(Value error, )?\w+ should ", "must ", finding["msg"])
    return text.replace("match pattern", "match the pattern").replace(" after validation", "")


def first_finding(error: ValidationError) -> str:
    """Return what is wrong with a record, as half a sentence: its first fault, with the field."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = _cut(".".join(map(str, found["loc"])))
    said = _cut(reason(found).removeprefix("Value error, "), 120)
    return f"{where}: {said}" if where else said


def format_value(value: Any) -> str:
    """Return a value as a message shows it: lists as lists, and cut where it is long."""
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _cut(part: str, most: int = 40) -> str:
    return printable(part if len(part) <= most else f"{part[: most - 3]}...")


def _frozen(data: Any) -> Any:
    """Turn lists into tuples, all the way down: a strict tuple field takes no list."""
    if isinstance(data, Mapping):
        return {key: _frozen(value) for key, value in data.items()}
    return tuple(_frozen(value) for value in data) if isinstance(data, (list, tuple)) else data


def _within(inner: Location, outer: Location) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _sentence(finding: Any, data: Any) -> str:
    path = _path(finding["loc"], data)
    if finding["type"] == OWN:
        path = (path + finding["ctx"]["below"]).lstrip(".")
        return f"{path}: {finding['msg']}" if path else str(finding["msg"])
    if finding["type"] == "missing":
        return f"{path} is missing; add it"
    return f"{path}: {format_value(finding['input'])} doesn't fit; it {reason(finding)}"


def _path(loc: Location, data: Any) -> str:
    """Write a location as the user wrote it, leaving out the union tags that pydantic puts in."""
    path, node = "", data
    for position, part in enumerate(loc):
        if isinstance(part, int):
            path += f"[{part}]"
            node = node[part] if isinstance(node, (list, tuple)) and part < len(node) else None
        elif _is_tag(part, node, last=position == len(loc) - 1):
            continue
        else:
            path += f".{_cut(part)}" if path else _cut(part)
            node = node.get(part) if isinstance(node, Mapping) else None
    return path


def _is_tag(part: str, node: Any, last: bool) -> bool:
    """Return whether pydantic, not the user, put this part into the path: a union's tag or a validator's name."""
    if isinstance(node, Mapping):
        return part not in node and (not last or part == node.get("name"))
    return isinstance(node, str)
