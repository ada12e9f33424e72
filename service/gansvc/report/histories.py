"""The histories of runs as columns of numbers, for the figures: a job's runs have hundreds of thousands of lines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from gansvc.errors import ClusterError
from gansvc.report.drawing import Array, to_array
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


@with_config(ConfigDict(extra="ignore"))
class _Line(TypedDict):
    """What is drawn of a line; see records.History."""

    step: int
    critic_images: int
    critic_loss: float | None
    generator_loss: float | None
    wasserstein: float | None


_LINES = TypeAdapter(list[_Line])


def read_history(folder: Folder, run: RunRecord) -> RunHistory:
    """Return the history of a run, empty where it has no history.

    Raises:
        ClusterError: a line of its history isn't one.
    """
    name = f"{layout.TRAIN}/{layout.run_name(run.label, run.seed)}/{layout.HISTORY}"
    lines = (folder.read(name) or b"").splitlines()
    columns: list[list[Array]] = [[] for _ in _Line.__annotations__]
    for first in range(0, len(lines), _AT_ONCE):
        some = lines[first : first + _AT_ONCE]
        try:
            found = _LINES.validate_json(b"[" + b",".join(line for line in some if line.strip()) + b"]")
        except ValidationError:
            at = first + next((place for place, line in enumerate(some, start=1) if not _is_line(line)), 1)
            raise ClusterError(f"{folder.path(name)}: line {at} is not a {History.__name__}") from None
        for column, field in zip(columns, _Line.__annotations__, strict=True):
            column.append(to_array([line[field] for line in found]))  # type: ignore[literal-required]
    step, *drawn = (np.concatenate(column) if column else np.empty(0) for column in columns)
    # A run that was restarted writes the steps after its checkpoint twice: the later line counts.
    _, last = np.unique(step[::-1], return_index=True)
    return RunHistory(*(column[::-1][last] for column in drawn))


def _is_line(line: bytes) -> bool:
    try:
        _LINES.validate_json(b"[" + line + b"]")
    except ValidationError:
        return False
    return True
