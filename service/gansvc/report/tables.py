"""Tables as data: Markdown, the page and the terminal show the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ARROWS = {"lower": "↓", "higher": "↑"}


@dataclass(frozen=True)
class Column:
    """One column: numbers, at the right, unless it is text."""

    title: str
    """With the unit, where its cells don't name it."""
    better: Literal["lower", "higher"] | None = None
    """Which direction is better; None where neither is."""
    is_text: bool = False
    is_key: bool = False
    """Whether its cells name their rows: it stays in sight when a wide table is scrolled."""

    @property
    def heading(self) -> str:
        """The title, with an arrow where a direction is better."""
        return f"{self.title} {ARROWS[self.better]}" if self.better else self.title


@dataclass(frozen=True)
class Cell:
    """One value as it is shown, in the decimals and with the deviation of its kind."""

    text: str
    emphasis: Literal["", "best", "floor"] = ""
    """``best`` of its column, or the name of a noise floor."""
    loss: str | None = None
    """Label of the loss that it names, which is shown in its colour."""


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    cells: tuple[Cell, ...]
    standing: Literal["", "first", "floor"] = ""
    """``first`` of a ranking, or the noise floor under one."""


@dataclass(frozen=True)
class Table:
    """A table."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def text_columns(*titles: str) -> tuple[Column, ...]:
    """Return columns of text, of which the first one names the rows."""
    return tuple(Column(title, is_text=True, is_key=place == 0) for place, title in enumerate(titles))


def number_columns(*titles: str) -> tuple[Column, ...]:
    """Return columns of numbers of which no direction is better."""
    return tuple(map(Column, titles))


def plain(*texts: str) -> tuple[Cell, ...]:
    """Return cells without emphasis."""
    return tuple(map(Cell, texts))


def loss_cell(label: str, seed: int | None = None) -> Cell:
    """Return the cell that names a loss, or one of its runs."""
    return Cell(label if seed is None else f"{label}, seed {seed}", loss=label)


def floor_row(name: str, *texts: str) -> Row:
    """Return the row of a noise floor in a table that is no ranking."""
    return Row((Cell(name, "floor"), *plain(*texts)))
