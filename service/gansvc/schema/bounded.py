"""Types of bounded size that records are made of, since a record may be a stranger's.

A text that is too long is cut, as gansvc's own may be too; a list, a number or a nesting that no job has is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field

T = TypeVar("T")

LONGEST = 5_000
"""Characters of a text."""
MAX_ITEMS = 1_000
"""Trainings at work at once, seeds of a loss, and keys of a table: ten times what a spec can ask for."""
_MOST_VALUES, _DEEPEST, _LARGEST = 50_000, 32, 10**18


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    """Refuse plain data that is deeper, longer or larger than a spec's can be, and cut its texts nowhere."""
    waiting: list[tuple[Any, int]] = [(data, 0)]
    values = 0
    while waiting:
        value, depth = waiting.pop()
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in inner:
            values += 1
            if values > _MOST_VALUES or depth >= _DEEPEST:
                raise ValueError(f"it holds more than {_MOST_VALUES:,} values, or {_DEEPEST} levels of them")
            if isinstance(part, int) and abs(part) > _LARGEST:
                raise ValueError(f"{str(key)[:40]} is a number beyond {_LARGEST:.0e}")
            waiting.append((part, depth + 1))
    return data


Text = Annotated[str, AfterValidator(_cut)]
"""A sentence or a name; cut where it is longer than any of ours."""
Count = Annotated[int, Field(ge=0, le=_LARGEST)]
"""A number of images, steps, seeds, ..."""
Texts = Annotated[tuple[Text, ...], Field(max_length=5 * MAX_ITEMS)]
"""Warnings, and other lists of sentences."""
Few = Annotated[tuple[T, ...], Field(max_length=100)]
"""A list of what a job has a handful of: losses, columns, classes."""
Some = Annotated[tuple[T, ...], Field(max_length=MAX_ITEMS)]
"""A list of what a loss has some of: seeds, trainings at work."""
Many = Annotated[tuple[T, ...], Field(max_length=10 * MAX_ITEMS)]
"""A list of what a job has thousands of: trials, runs, points of a curve."""
Table = Annotated[dict[Annotated[str, Field(max_length=200)], T], Field(max_length=MAX_ITEMS)]
"""Values by name."""
BySeed = Annotated[dict[Count, T], Field(max_length=MAX_ITEMS)]
"""Values by seed."""
Plain = Annotated[dict[str, Any], AfterValidator(_plain)]
"""A section of a spec, or all of it, as plain data."""
