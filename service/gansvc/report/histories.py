"""Read the histories of runs as arrays for the figures: a job's runs have hundreds of thousands of lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, NotRequired

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from gansvc.errors import ClusterError
from gansvc.report.drawing import Array, to_array
from gansvc.schema.bounded import Table
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import History, RunRecord

_AT_ONCE = 10_000
"""Lines that are taken apart together: one at a time is slow, all together take much memory."""


class RunHistory(NamedTuple):
    """One run's training in the order of its steps; NaN where a value isn't finite."""

    critic_images: Array
    critic_loss: Array
    generator_loss: Array
    wasserstein: Array
    terms: dict[str, Array]
    """What the regularizers list, by name; NaN where a line doesn't hold it."""


@with_config(ConfigDict(extra="ignore"))
class _Line(TypedDict):
    """What is drawn of a line; see records.History."""

    step: int
    critic_images: int
    critic_loss: float | None
    generator_loss: float | None
    wasserstein: float | None
    terms: NotRequired[Table[float | None]]


_NUMBERS = tuple(name for name in _Line.__annotations__ if name != "terms")
_MAX_TERMS = 24
"""Names of terms that are read; a job has a handful."""
_LINES = TypeAdapter(list[_Line])


def read_history(folder: Folder, run: RunRecord) -> RunHistory:
    """Return the history of a run, empty where it has no history.

    Raises:
        ClusterError: a line of its history isn't one.
    """
    name = f"{layout.TRAIN}/{layout.run_name(run.label, run.seed)}/{layout.HISTORY}"
    lines = (folder.read(name) or b"").splitlines()
    columns: list[list[Array]] = [[] for _ in _NUMBERS]
    terms: dict[str, list[Array]] = {}
    for first in range(0, len(lines), _AT_ONCE):
        some = lines[first : first + _AT_ONCE]
        try:
            found = _LINES.validate_json(b"[" + b",".join(line for line in some if line.strip()) + b"]")
        except ValidationError:
            at = first + next((place for place, line in enumerate(some, start=1) if not _is_line(line)), 1)
            raise ClusterError(f"{folder.path(name)}: line {at} is not a {History.__name__}") from None
        for column, field in zip(columns, _NUMBERS, strict=True):
            column.append(to_array([line[field] for line in found]))  # type: ignore[literal-required]
        _add_terms(terms, found, columns[0])
    step, *drawn = (np.concatenate(column) if column else np.empty(0) for column in columns)
    # A run that was restarted writes the steps after its checkpoint twice: the later line counts.
    _, last = np.unique(step[::-1], return_index=True)
    named = {term: np.concatenate(parts)[::-1][last] for term, parts in terms.items()}
    images, critic_loss, generator_loss, wasserstein = (column[::-1][last] for column in drawn)
    return RunHistory(images, critic_loss, generator_loss, wasserstein, named)


def _add_terms(terms: dict[str, list[Array]], lines: Sequence[_Line], steps: Sequence[Array]) -> None:
    """Add the terms of some lines to what was read so far, each as long as the steps are by now."""
    found = dict.fromkeys([*terms, *(name for line in lines for name in line.get("terms", {}))])
    for name in list(found)[:_MAX_TERMS]:
        before = [np.full(sum(map(len, steps[:-1])), np.nan)]
        terms.setdefault(name, before).append(to_array([line.get("terms", {}).get(name) for line in lines]))


def _is_line(line: bytes) -> bool:
    try:
        _LINES.validate_json(b"[" + line + b"]")
    except ValidationError:
        return False
    return True
