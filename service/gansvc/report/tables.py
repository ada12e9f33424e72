"""Tables of Markdown, and text that stands in them as it was written."""

from __future__ import annotations

from collections.abc import Sequence


def escape(text: object) -> str:
    """Return text that stands on one line of Markdown, and in a table's cell, as it was written, entities too."""
    line = " ".join(str(text).split())
    for mark in "\\|<>*`[]&":
        line = line.replace(mark, f"\\{mark}")
    return line


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table whose first columns stand left and whose others, numbers, stand right."""
    rule = ["---" if index < left else "---:" for index in range(len(head))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows))
