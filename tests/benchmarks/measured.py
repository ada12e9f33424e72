"""What a benchmark found: its numbers, build/bench.json and the table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from gansvc.files.plainfiles import write_file

_progress = Console(stderr=True, highlight=False)

Pair = tuple[float, float]
"""Seconds of the plain way and of ours, for the same work in the same round."""


@dataclass(frozen=True)
class Aim:
    """What a benchmark's value is to reach."""

    word: Literal["at least", "under"]
    value: float
    unit: str = ""

    def met(self, value: float) -> bool:
        """Return whether the value reaches it."""
        return value >= self.value if self.word == "at least" else value < self.value

    def __str__(self) -> str:
        return f"{self.word} {self.value:g}{self.unit}"


@dataclass(frozen=True)
class Measured:
    """One benchmark's result."""

    name: str
    ratio: float
    """Median of the plain way's seconds over the median of ours; for a name without a pair, the median value itself."""
    low: float
    """Smallest of the rounds' ratios, or values."""
    high: float
    """Largest of them."""
    what: str
    """What was measured, under which settings, and the aim."""
    aim: Aim | None = None


def from_pairs(name: str, what: str, *groups: list[Pair], aim: Aim | None = None) -> Measured:
    """Return how many times as fast as the plain way ours is, from each round's pair.

    Work of several kinds makes several groups, whose medians are summed.
    """
    plain, ours = (sum(statistics.median(pair[side] for pair in group) for group in groups) for side in (0, 1))
    ratios = [pair[0] / pair[1] for group in groups for pair in group]
    return _measured(name, what, plain / ours, ratios, aim)


def from_values(name: str, what: str, values: list[float], aim: Aim | None = None) -> Measured:
    """Return the median of values that have no counterpart in the plain way."""
    return _measured(name, what, statistics.median(values), values, aim)


def alternate(name: str, rounds: int, plain: Callable[[], float], ours: Callable[[], float]) -> list[Pair]:
    """Measure the plain way and ours in turn, and return each round's seconds."""
    pairs = []
    for number in range(1, rounds + 1):
        say(f"{name}: round {number} of {rounds}")
        pairs.append((plain(), ours()))
    return pairs


def say(text: str) -> None:
    """Tell on stderr how far the benchmarks are."""
    _progress.print(text)


def read(path: Path) -> dict[str, dict[str, object]]:
    """Return what an earlier run wrote, or nothing where there is no such file."""
    found: dict[str, dict[str, object]] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def write(path: Path, kept: dict[str, dict[str, object]], results: Iterable[Measured]) -> None:
    """Write {name: {ratio, low, high, what}}: the results, and what is kept of an earlier run under other names."""
    ours = {r.name: {"ratio": r.ratio, "low": r.low, "high": r.high, "what": r.what} for r in results}
    write_file(path, (json.dumps(kept | ours, indent=2) + "\n").encode())


def table(results: Iterable[Measured]) -> Table:
    """Return the results as a table: value, spread, whether the aim is met, and what was measured."""
    made = Table("name", "ratio", "spread", "aim", "what", title="Times as fast as the plain way, unless it says else")
    for r in results:
        verdict = "" if r.aim is None else f"{r.aim}: {'met' if r.aim.met(r.ratio) else 'not met'}"
        made.add_row(r.name, f"{r.ratio:.2f}", f"{r.low:.2f} to {r.high:.2f}", verdict, r.what)
    return made


def _measured(name: str, what: str, value: float, of_rounds: list[float], aim: Aim | None) -> Measured:
    text = f"{what}; low and high are of {len(of_rounds)}" + (f"; aim: {aim}" if aim else "")
    return Measured(name, value, min(of_rounds), max(of_rounds), text, aim)
