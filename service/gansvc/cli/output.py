"""Console output: results to stdout, the rest to stderr, control characters as escapes."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any

from pydantic import BaseModel
from rich.markup import escape

from gansvc.cli.terminal import PlainConsole
from gansvc.escapes import printable, printable_json

MAX_ERROR_LENGTH = 1000
"""Characters of an error that are shown."""


def as_json(data: Any) -> str:
    """Return data, or a record, as indented JSON."""
    if isinstance(data, BaseModel):
        return printable_json(data.model_dump_json(indent=2))
    return printable_json(json.dumps(data, indent=2, ensure_ascii=False))


def show(text: object, end: str = "\n") -> None:
    """Write a result to stdout."""
    lines = str(text).replace("\r\n", "\n").replace("\r", "\n")
    print(printable(lines, keep="\n\t"), end=end, flush=True)


def fail(sentence: str) -> None:
    """Write an error's sentence to stderr."""
    text = printable(sentence, keep="\t")
    print(f"Error: {text if len(text) <= MAX_ERROR_LENGTH else text[: MAX_ERROR_LENGTH - 3] + '...'}", file=sys.stderr)


def out() -> PlainConsole:
    """Return the console of the results."""
    # A pipe has no width of its own: wide enough that no table is cut.
    return PlainConsole(width=None if sys.stdout.isatty() else 200)


def err() -> PlainConsole:
    """Return the console of progress."""
    return PlainConsole(stderr=True)


def say(text: str) -> None:
    """Write a line to stderr."""
    err().print(escape(text), highlight=False, soft_wrap=True)


def configure_streams() -> None:
    """Make stdout, stderr and warnings take any text: what their encoding lacks, or drives a terminal, is an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_EscapingFormatter())


class _EscapingFormatter(logging.Formatter):
    """Writes warnings, which may quote what a server said."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n\t")
