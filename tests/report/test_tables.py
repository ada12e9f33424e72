"""Tables as data: Markdown, the page and the terminal show the same cells, columns and marks."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from gansvc.cli import scoretables
from gansvc.report import html, leaderboard, markdown, sections
from gansvc.report.build import build
from gansvc.report.document import Notes, Section, Subsection, escape
from gansvc.report.model import Report
from gansvc.report.tables import Table

from ..builders.jobs import make_job, make_spec


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return build(make_job(tmp_path_factory.mktemp("tables")), make_spec())


class Cells(HTMLParser):
    """The cells of a page's tables, in order, and how each is marked."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._within: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("th", "td"):
            self.found.append(("", ""))
        self._within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._within and self._within.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        inside = next((tag for tag in reversed(self._within) if tag in ("th", "td")), None)
        if inside is not None:
            mark = {"strong": "best", "em": "floor"}.get(self._within[-1], "")
            self.found[-1] = (self.found[-1][0] + data, mark)


def tables_of(section: Section | Subsection | Notes) -> list[Table]:
    found = []
    for block in section.blocks:
        if isinstance(block, Table):
            found.append(block)
        elif isinstance(block, Subsection | Notes):
            found += tables_of(block)
    return found


def test_markdown_and_the_page_show_every_cell_of_every_table(report: Report) -> None:
    tables = [table for section in sections.document(report, ()).sections for table in tables_of(section)]
    assert len(tables) >= 2 + 3 + 1 + 1 + 1 + 1, "leaderboard, trials, budgets, runs, published numbers, contract"
    cells: list[tuple[str, str]] = []
    for table in tables:
        cells += [(column.heading, "") for column in table.columns]
        cells += [(cell.text, cell.emphasis) for row in table.rows for cell in row.cells]
    assert {emphasis for _, emphasis in cells} == {"", "best", "floor"}
    assert Cells(html.render(report, {}, [])).found == cells
    lines = [line for line in markdown.render(report).splitlines() if line.startswith("| ") and "---" not in line]
    mark = {"": "", "best": "**", "floor": "*"}
    written = [text for line in lines for text in re.split(r"(?<!\\) \| ", f" {line[1:-1]} "[1:-1])]
    assert [text.strip() for text in written] == [
        f"{mark[emphasis]}{escape(text)}{mark[emphasis]}" for text, emphasis in cells
    ]


def test_the_terminal_shows_every_cell_of_its_leaderboard(report: Report) -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(scoretables.leaderboard(report))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    table = leaderboard.overview(report)
    shown = [[text.strip() for text in re.split("[│┃]", line)[1:-1]] for line in lines if line[:1] in "│┃"]
    assert shown == [[c.heading for c in table.columns], *([cell.text for cell in row.cells] for row in table.rows)]
    assert {row.standing for row in table.rows} == {"", "first", "floor"}


def test_a_cell_that_only_reads_like_a_loss_has_no_colour(report: Report) -> None:
    assert report.contract is not None
    coloured = html.render(report, {}, []).count("--loss: #")
    same = report.model_copy(update={"contract": report.contract.model_copy(update={"extractor": "wgan"})})
    page = html.render(same, {}, [])
    assert "<td>wgan</td>" in page and page.count("--loss: #") == coloured > 10
