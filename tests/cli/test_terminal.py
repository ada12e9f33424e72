"""What a file holds can't drive the terminal, and colours of our own still can."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from rich.text import Text

from gansvc.cli.terminal import PlainConsole

DRIVERS = ["\x1b[2J", "\x9b31m"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_table_is_coloured_and_its_texts_are_plain(driver: str) -> None:
    file = io.StringIO()
    table = Table("job")
    table.add_row(Text(f"x{driver}y", style="red"))
    PlainConsole(file=file, force_terminal=True, color_system="standard", width=60).print(table)
    assert "\x1b[31m" in file.getvalue() and driver not in file.getvalue().replace("\x1b[31m", "")
    assert "x\\u00" in file.getvalue(), "cut to the width of what it stands for"
