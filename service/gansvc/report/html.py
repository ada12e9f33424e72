"""A report as one HTML file: report.md's own text as a page, with every picture inside it and nothing to fetch.

The Markdown stays the one place where the report's prose and tables are written. Here its second-level headings become
the page's sections, its pictures are put inline, cut into panels that restack on a phone, and its tables get the
losses' colours; the frame and the style stand in report.html.j2.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise

import jinja2
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from gansvc.escapes import printable
from gansvc.report import drawing
from gansvc.report.alternatives import panel
from gansvc.report.model import Report
from gansvc.store import layout

CSS_PIXELS = 96
"""An inch on a page."""
GALLERY = layout.figure("samples.png")
"""The picture that the page shows as one picture per loss instead."""
PHOTOS = (layout.figure("pairs.png"),)
"""Figures that hold images of the data set."""
_KEYS = ("loss", "run", "trial")
"""Titles of the column that stays in sight when a wide table is scrolled."""
_LONG = re.compile(r"\S{24}")
"""A word, as a hash, that may be broken anywhere."""
_HEAD = Markup('<div class="scroll" tabindex="0" role="region" aria-label="Table: {}"><table>\n')


@dataclass(frozen=True)
class Section:
    """A second-level heading and what stands below it."""

    id: str
    title: str
    body: Markup


def render(report: Report, markdown: str, pictures: Mapping[str, bytes], grids: Sequence[tuple[str, bytes]]) -> str:
    """Return the report as one HTML page.

    Args:
        report: the report.
        markdown: the same report as Markdown.
        pictures: PNG by the address that the Markdown gives it, as ``figures/kid.png``.
        grids: title and PNG of the real images, then of each loss's: the page's side by side.
    """
    looks = drawing.looks([loss["label"] for loss in report.spec["losses"]])
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(files("gansvc.report").joinpath("report.html.j2").read_text(encoding="utf-8"))
    shown = _Page(looks, pictures, grids)
    # A character may come from the Markdown, from a record, from a picture's own text, or be named by a number.
    return printable(template.render(report=report, sections=list(shown.sections(markdown))), keep="\n")


class _Page:
    """Turns a report's Markdown into sections."""

    def __init__(
        self, looks: Mapping[str, drawing.Look], pictures: Mapping[str, bytes], grids: Sequence[tuple[str, bytes]]
    ) -> None:
        self._looks, self._pictures, self._grids = looks, pictures, grids
        # Tags in the text are shown, not obeyed.
        self._parser = MarkdownIt("commonmark", {"html": False}).enable("table")
        self._parser.add_render_rule("image", lambda _, tokens, i, *rest: self._picture(tokens[i]))
        self._parser.add_render_rule("table_open", lambda _, t, i, o, env: _HEAD.format(env["title"]))
        self._parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
        self._parser.add_render_rule(
            "fence", lambda _, t, i, *rest: f'<pre tabindex="0">{escape(t[i].content)}</pre>\n'
        )

    def sections(self, markdown: str) -> Iterator[Section]:
        """Yield the sections in their order; what stands above the first one is the template's to say."""
        tokens = self._parser.parse(markdown)
        starts = [i for i, token in enumerate(tokens) if token.type == "heading_open" and token.tag == "h2"]
        for start, end in pairwise([*starts, len(tokens)]):
            title = _text(tokens[start + 1])
            body = tokens[start + 3 : end]
            if body:
                yield Section(re.sub(r"\W+", "-", title.lower()).strip("-"), title, self._body(title, body))

    def _body(self, title: str, tokens: list[Token]) -> Markup:
        for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
            if token.type == "inline" and [child.type for child in token.children or ()] == ["image"]:
                before.hidden = after.hidden = True  # a figure is no part of a paragraph
        self._mark_rows(tokens)
        # A third-level heading with a table under it is for who asks: it opens on a click, and in print. So is what
        # explains the leaderboard, because the samples belong on the first screen.
        cuts = [0, *(i for i, token in enumerate(tokens) if token.tag == "h3" and token.nesting == 1), len(tokens)]
        html = ""
        for start, end in pairwise(cuts):
            part = tokens[start:end]
            if start and any(token.type == "table_open" for token in part):
                heading, table = self._html(part[:3], title), self._html(part[3:], title)
                html += f"<details><summary>{heading}</summary>{table}</details>\n"
            elif title == "Leaderboard":
                end = next((i for i, token in enumerate(part, 1) if token.type == "table_close"), len(part))
                table, note = self._html(part[:end], title), self._html(part[end:], title)
                summary = "How to read this table, and how sure its order is"
                html += f"{table}<details><summary>{summary}</summary>{note}</details>\n"
            else:
                html += self._html(part, title)
        return Markup(html)  # noqa: S704 - the parser escaped it

    def _html(self, tokens: list[Token], title: str) -> str:
        return str(self._parser.renderer.render(tokens, self._parser.options, {"title": title}))

    def _mark_rows(self, tokens: list[Token]) -> None:
        """Mark the leaderboard's first row and noise floor, and what _mark_cell marks."""
        row, column, keys, ranked = Token("tr_open", "tr", 1), 0, -1, False
        for token, content in pairwise(tokens):
            if token.type == "tr_open":
                row, column = token, 0
            elif token.type in ("th_open", "td_open"):
                text = _text(content)
                if token.tag == "th":
                    token.attrSet("scope", "col")
                    ranked = text == "rank" if column == 0 else ranked
                    keys = column if text in _KEYS else -1 if column == 0 else keys
                elif column == 0 and ranked and text in ("1", ""):
                    row.attrSet("class", "first" if text else "floor")
                self._mark_cell(token, text, column == keys)
                column += 1

    def _mark_cell(self, cell: Token, text: str, key: bool) -> None:
        """Give a cell that names a loss its colour; mark it as key, as loss and as one that holds a long word."""
        look = self._looks.get(text.partition(", seed ")[0]) if cell.tag == "td" else None
        if look:
            cell.attrSet("style", f"--loss: {look.colour}")
        marks = {"key": key, "loss": look is not None, "long": _LONG.search(text) is not None}
        marks |= {f"group-{look.group}": look.group > 0} if look else {}
        if any(marks.values()):
            cell.attrSet("class", " ".join(name for name, holds in marks.items() if holds))

    def _picture(self, token: Token) -> Markup:
        """Return a figure, or only the name of a picture that isn't there."""
        address, said = str(token.attrs.get("src", "")), token.content
        caption = str(token.attrs.get("title", "")) or said
        if address == GALLERY and self._grids:
            return _gallery(caption, self._grids)
        if address not in self._pictures:
            return escape(said)
        png = self._pictures[address]
        # Plots are turned dark with the page; photographs stay as they are.
        kind = "photos" if address in PHOTOS else "plots"
        parts = [_image(panel(said, name), part) for name, part in drawing.parts(png)]
        if parts:
            return _figure(f"panels {kind}", caption, parts)
        return _figure(f"whole {kind}", caption, [_image(said, png)])


def _figure(kind: str, title: str, inside: Sequence[Markup]) -> Markup:
    return Markup('<figure class="{}">\n<div>{}</div>\n<figcaption>{}</figcaption>\n</figure>\n').format(
        kind, Markup("\n").join(inside), title
    )


def _gallery(title: str, grids: Sequence[tuple[str, bytes]]) -> Markup:
    one = Markup("<figure>{}<figcaption>{}</figcaption></figure>\n")
    shown = [one.format(_image(f"Images: {name}", png), name) for name, png in grids]
    return Markup('<div class="gallery" role="group" aria-label="{}">\n{}</div>\n').format(
        title, Markup("").join(shown)
    )


def _image(alt: str, png: bytes) -> Markup:
    # A PNG's width and height stand at bytes 16 to 24; given here, the page doesn't jump while it is laid out.
    sides = [int.from_bytes(png[at : at + 4], "big") * CSS_PIXELS // drawing.DPI for at in (16, 20)]
    address = f"data:image/png;base64,{b64encode(png).decode()}"
    return Markup('<img alt="{}" width="{}" height="{}" src="{}">').format(alt, *sides, address)


def _text(token: Token) -> str:
    """Return what a reader sees of an inline token."""
    return "".join(child.content for child in token.children or ())
