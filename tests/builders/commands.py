"""Commands run in this process: what each printed, and with which exit code it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from gansvc.cli import app


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


def run_command(capsys: pytest.CaptureFixture[str], *args: str) -> Result:
    """Run a command line of gansvc and return how it ended."""
    with pytest.raises(SystemExit) as ended:
        app.main(args)
    captured = capsys.readouterr()
    return Result(ended.value.code if isinstance(ended.value.code, int) else 0, captured.out, captured.err)
