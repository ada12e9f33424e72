"""A report as one HTML page, with every picture inside it and nothing to fetch.

The page's frame, its style and the form of each block stand in report.html.j2. Here the tables get the losses' colours,
and the figures are cut into panels that restack on a phone.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup

from gansvc.escapes import printable
from gansvc.report import drawing, sections
from gansvc.report.document import Picture
from gansvc.report.model import Report
from gansvc.report.tables import Cell, Column

CSS_PIXELS = 96
"""An inch on a page."""
PHOTOS = ("samples.png", "pairs.png")
"""Figures that hold images of the data set: they stay as they are where plots are turned dark with the page."""
_LONG = re.compile(r"\S{24}")
"""A word, as a hash, that may be broken anywhere."""


@dataclass(frozen=True)
class Image:
    """One picture of the page."""

    alternative: str
    png: bytes

    @property
    def width(self) -> int:
        """Its width on the page: given there, the page doesn't jump while it is laid out."""
        return self._side(16)

    @property
    def height(self) -> int:
        """Its height on the page."""
        return self._side(20)

    @property
    def address(self) -> str:
        """The picture itself."""
        return f"data:image/png;base64,{b64encode(self.png).decode()}"

    def _side(self, place: int) -> int:
        # A PNG's width and height stand at bytes 16 to 24.
        return int.from_bytes(self.png[place : place + 4], "big") * CSS_PIXELS // drawing.DPI


def render(report: Report, figures: Mapping[str, bytes], grids: Sequence[tuple[str, bytes]]) -> str:
    """Return the report as one HTML page.

    Args:
        report: the report.
        figures: PNG by the name of each file in report/figures/.
        grids: title and PNG of the real images, then of each loss's: the page shows them in place of samples.png.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    styles = drawing.loss_styles(report.labels)
    # Tags in the text are shown, not obeyed.
    parser = MarkdownIt("commonmark", {"html": False})
    environment.filters |= {
        "kind": lambda block: type(block).__name__,
        "inline": lambda text: Markup(parser.renderInline(text)),  # noqa: S704 - the parser escaped it
        "head_attributes": _head_attributes,
        "cell_attributes": partial(_cell_attributes, styles),
        "images": partial(_images, figures),
        "form": lambda picture, images: f"{_form(images)} {'photos' if picture.name in PHOTOS else 'plots'}",
    }
    template = environment.from_string(files("gansvc.report").joinpath("report.html.j2").read_text(encoding="utf-8"))
    gallery = [Image(f"Images: {title}", png) for title, png in grids]
    document = sections.document(report, tuple(figures))
    page = template.render(report=report, document=document, gallery=list(zip(gallery, grids, strict=True)))
    # A character may come from a record, from a picture's own text, or be named by a number.
    return printable(page, keep="\n")


def _head_attributes(column: Column) -> dict[str, str | None]:
    return {"scope": "col", "class": _classes(column, column.heading)}


def _cell_attributes(styles: Mapping[str, drawing.LossStyle], cell: Cell, column: Column) -> dict[str, str | None]:
    """Return a cell's HTML attributes: one that names a loss has its colour."""
    style = styles.get(cell.loss or "")
    marks = () if style is None else ("loss", *([f"group-{style.group}"] if style.group else []))
    return {"style": style and f"--loss: {style.colour}", "class": _classes(column, cell.text, *marks)}


def _classes(column: Column, text: str, *marks: str) -> str | None:
    found = {"key": column.is_key, **dict.fromkeys(marks, True), "number": not column.is_text}
    found["long"] = _LONG.search(text) is not None
    return " ".join(name for name, holds in found.items() if holds) or None


def _images(figures: Mapping[str, bytes], picture: Picture) -> list[Image]:
    """Return a figure's panels, or the one that it is."""
    png = figures[picture.name]
    panels = [Image(picture.panel(name), part) for name, part in drawing.split_panels(png)]
    return panels or [Image(picture.alternative, png)]


def _form(images: Sequence[Image]) -> str:
    return "panels" if len(images) > 1 else "whole"
