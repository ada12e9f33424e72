"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gansvc.escapes import printable
from gansvc.report import sections
from gansvc.report.document import Block, Bullets, Code, Notes, Paragraph, Picture, Section, Subsection, escape
from gansvc.report.model import Report
from gansvc.report.tables import Cell, Table
from gansvc.store import layout

_EMPHASIS = {"": "{}", "best": "**{}**", "floor": "*{}*"}


def render(report: Report, figures: Sequence[str] = ()) -> str:
    """Return the report as Markdown that shows the named files of report/figures/."""
    document = sections.document(report, figures)
    head = (f"# {escape(document.title)}", f"**{escape(document.headline)}**", document.origin)
    text = "\n\n".join((*head, *(part for section in document.sections for part in _section(section))))
    return printable(f"{text}\n", keep="\n")


def _section(section: Section) -> Iterable[str]:
    yield f"## {escape(section.title)}"
    yield from map(_block, section.blocks)


def _block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return text
        case Bullets(items):
            return "\n".join(f"- {item}" for item in items)
        case Table():
            return _table(block)
        case Picture(name, caption):
            title = escape(caption.replace('"', "'"))
            return f'![{escape(block.alternative)}]({layout.figure(name)} "{title}")'
        case Code(text, language):
            fence = "```"
            while fence in text:
                fence += "`"
            return f"{fence}{language}\n{text}{fence}"
        case Subsection(title, blocks):
            return "\n\n".join((f"### {escape(title)}", *map(_block, blocks)))
        case Notes(_, blocks):
            return "\n\n".join(map(_block, blocks))


def _table(table: Table) -> str:
    head = [escape(column.heading) for column in table.columns]
    rule = ["---" if column.is_text else "---:" for column in table.columns]
    rows = [[_cell(cell) for cell in row.cells] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows))


def _cell(cell: Cell) -> str:
    return _EMPHASIS[cell.emphasis].format(escape(cell.text))
