"""What a file holds can't drive the terminal, and colours of our own still can."""

from __future__ import annotations

import io
import json

import pytest
from rich.table import Table
from rich.text import Text

from gansvc.errors import printable
from gansvc.terminal import PlainConsole

DRIVERS = ["\x1b[2J", "\x9b31m", "\x07", "\r", "\x85", "\u2028", "\u202e", "\u2066", "\x7f", "\ud800"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_drives_a_terminal_is_an_escape(driver: str) -> None:
    shown = printable(f"a{driver}é✓")
    assert shown == f"a\\u{ord(driver[0]):04x}{driver[1:]}é✓"
    assert json.loads(f'"{shown}"') == f"a{driver}é✓", "the same in JSON"


def test_line_ends_stay_where_they_are_asked_for() -> None:
    assert printable("a\n\tb") == "a\\u000a\\u0009b"
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\u001b"


@pytest.mark.parametrize("driver", DRIVERS[:2])
def test_a_table_is_coloured_and_its_texts_are_plain(driver: str) -> None:
    file = io.StringIO()
    table = Table("job")
    table.add_row(Text(f"x{driver}y", style="red"))
    PlainConsole(file=file, force_terminal=True, color_system="standard", width=60).print(table)
    assert "\x1b[31m" in file.getvalue() and driver not in file.getvalue().replace("\x1b[31m", "")
    assert "x\\u00" in file.getvalue(), "cut to the width of what it stands for"
