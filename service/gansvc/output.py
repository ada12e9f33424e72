"""Where the commands write: results to stdout, progress and warnings to stderr."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape


def as_json(data: Any) -> str:
    """Return data as indented JSON."""
    return json.dumps(data, indent=2, ensure_ascii=False)


def out() -> Console:
    """Return the console of the results."""
    # A pipe has no width of its own: wide enough that no table is cut.
    return Console(width=None if sys.stdout.isatty() else 200)


def say(text: str) -> None:
    """Write a line to stderr."""
    Console(stderr=True).print(escape(text), highlight=False, soft_wrap=True)
