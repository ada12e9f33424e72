"""A report as a document: sections of paragraphs, lists, tables and pictures, before it is Markdown or a page.

Prose is inline Markdown; what a record brings into it goes through ``escape``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gansvc.report.tables import Table


@dataclass(frozen=True)
class Paragraph:
    """Prose; a line break in it is kept in Markdown and is a space on the page."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Text that is shown as it is."""

    text: str
    language: str


@dataclass(frozen=True)
class Picture:
    """A figure of the report."""

    name: str
    """File name below report/figures/."""
    caption: str
    parts: tuple[str, ...]
    """What it shows, with its key numbers; a part that tells of one panel begins with the panel's name."""

    @property
    def alternative(self) -> str:
        """What it shows, for readers who can't see it."""
        return f"{self.caption}: {'; '.join(self.parts)}"

    def panel(self, name: str) -> str:
        """Return what one panel shows; of a legend, and of a panel that no part tells of, its name."""
        parts = [part for part in self.parts if part.startswith(f"{name} ")]
        return f"{self.caption}: {'; '.join(parts) or name}"


@dataclass(frozen=True)
class Subsection:
    """A part with a heading of its own; where it holds a table, the page shows it on a click."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def is_folded(self) -> bool:
        """Whether the page folds it away."""
        return any(isinstance(block, Table) for block in self.blocks)


@dataclass(frozen=True)
class Notes:
    """How a table is to be read: the page shows it on a click, so that the samples stand on the first screen."""

    summary: str
    """What the page says in its place."""
    blocks: tuple[Block, ...]


Block = Paragraph | Bullets | Code | Picture | Table | Subsection | Notes


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def id(self) -> str:
        """Its anchor."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    headline: str
    """The answer in one sentence."""
    origin: str
    """Which job it is of, and what wrote it."""
    sections: tuple[Section, ...]


def escape(text: object) -> str:
    """Return text that stands on one line of Markdown, and in a table's cell, as it was written, entities too."""
    line = " ".join(str(text).split())
    for mark in "\\|<>*`[]&":
        line = line.replace(mark, f"\\{mark}")
    return line


def bullets(sentences: tuple[str, ...] | list[str], stop: str = ".") -> Bullets:
    """Return sentences that quote records as a list, each with its full stop."""
    return Bullets(tuple(f"{escape(sentence)}{stop}" for sentence in sentences))
