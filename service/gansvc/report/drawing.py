"""Matplotlib helpers of the figures: the palette, panels, axes, thinned curves."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox

from gansvc.report import numbers
from gansvc.report.model import Report

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

# Okabe and Ito's palette, without black and yellow: told apart with any colour vision, and on white paper.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_LINES: tuple[str | tuple[int, tuple[float, ...]], ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D")
GREY = "#666666"
MID_GREY = "#7a7a7a"
"""Grey that is read on white and on dark paper alike, for what stands on none of its own."""
DPI = 144
_CURVE_BINS = 500
"""Stretches of a curve that a panel's width tells apart."""
PARTS = "Parts"
_MAX_PIXELS = 2**24
"""Pixels of a picture; a grid of a job has a million."""
_MAX_PLOT_COLOURS = 3000
"""Above so many colours a picture counts as a photograph; three lines, smoothed, make 1,700."""
_STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "auto",
}
TRANSPARENT = {
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), "none"),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), MID_GREY),
}
"""Style of a figure without paper of its own: what holds photographs isn't turned dark with a page."""


Array = np.ndarray[Any, np.dtype[np.float64]]


class LossStyle(NamedTuple):
    """How a loss is drawn in every figure, unlike any other of the job's."""

    colour: str
    line: str | tuple[int, tuple[float, ...]]
    """Matplotlib's line style."""
    marker: str
    """Matplotlib's marker."""
    group: int
    """0 for the first six losses, which their colours tell apart; 1 for the next six, and so on."""


def loss_styles(labels: Sequence[str]) -> dict[str, LossStyle]:
    """Return each label's style, in the job's order: after six the colours come again with other lines and marks."""
    groups = [divmod(place, len(_COLOURS)) for place in range(len(labels))]
    every = [(group % len(_LINES), _COLOURS[colour]) for group, colour in groups]
    made = [LossStyle(colour, _LINES[group], _MARKERS[group], group) for group, colour in every]
    return dict(zip(labels, made, strict=True))


def draw_panels(
    count: int,
    draw: Callable[[Axes, int], None],
    size: tuple[float, float] = (4, 3),
    across: int = 3,
    legend: str = "",
    style: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a figure of panels as PNG bytes, each drawn by ``draw(axes, index)``; size is a panel's, inches.

    Rows are as equal as can be: of five panels, at most four across, three stand above two. With a legend title, the
    first panel's entries stand below the figure. The file's text field PARTS holds where each panel and the legend
    stand, so that ``split_panels`` can cut them out for a narrow page.
    """
    rows = math.ceil(count / across)
    columns = math.ceil(count / rows)
    with matplotlib.rc_context(_STYLE | dict(style or {})):  # type: ignore[arg-type]
        figure = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=DPI)
        axes = figure.subplots(rows, columns, squeeze=False).flat
        for index, panel in enumerate(axes):
            if index < count:
                draw(panel, index)
            else:
                panel.set_visible(False)
        if legend:
            entries = {text: line for line, text in zip(*axes[0].get_legend_handles_labels(), strict=True)}
            figure.legend(entries.values(), entries.keys(), title=legend, ncols=3, loc="outside lower center")
        # Settled now and not again, so that the panels stay where the file says.
        ConstrainedLayoutEngine(wspace=0.05).execute(figure)
        file = BytesIO()
        figure.savefig(file, format="png", metadata={PARTS: json.dumps(_boxes(figure))})
    return file.getvalue()


def split_panels(png: bytes) -> list[tuple[str, bytes]]:
    """Return each panel of a figure and then its legend, as a name and PNG bytes; none where it isn't so divided."""
    from PIL import Image

    found = []
    with Image.open(BytesIO(png)) as picture:
        for name, box in json.loads(picture.info.get(PARTS, "[]")):
            part, file = picture.crop(box), BytesIO()
            part = part if _is_clear(part) else part.convert("RGB")
            if part.mode == "RGB" and part.getcolors(_MAX_PLOT_COLOURS) is not None:
                # A drawing, no photograph: a palette makes the file a third as large and looks the same.
                part = part.quantize(256, dither=Image.Dither.NONE)
            part.save(file, "PNG", optimize=True)
            found.append((name, file.getvalue()))
    return found if len(found) > 1 else []


def decode_png(png: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a picture of the job folder, 0 to 1.

    Raises:
        ValueError: it is larger than any that a job draws: few bytes can stand for gigabytes.
    """
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    if width * height > _MAX_PIXELS:
        raise ValueError(f"it has {width} x {height} pixels, and at most {_MAX_PIXELS:,} are drawn")
    return imread(BytesIO(png), format="png")


def _is_clear(picture: Picture) -> bool:
    """Return whether some of a picture lets the paper through."""
    return picture.mode == "RGBA" and picture.getchannel("A").getextrema()[0] != 255


def _boxes(figure: Figure) -> list[tuple[str, tuple[int, int, int, int]]]:
    """Return name and left, top, right, bottom in pixels of each panel, with its labels, and of the legend."""
    panels: dict[str, list[Bbox]] = {}
    names: dict[str, str] = {}
    for axes in figure.axes:  # axes that share a place, as twins do, are one panel
        if axes.get_visible() and (box := axes.get_tightbbox()) is not None:
            place = str(axes.get_subplotspec())
            panels.setdefault(place, []).append(box)
            names[place] = axes.get_title() or names.get(place) or axes.get_xlabel()
    boxes = [(names[place], Bbox.union(found)) for place, found in panels.items()]
    boxes += [("legend", legend.get_window_extent()) for legend in figure.legends]
    right, top = figure.bbox.width, figure.bbox.height
    return [
        (
            name,
            (
                max(0, int(x0)),
                max(0, int(top - y1)),
                min(int(right), math.ceil(x1)),
                min(int(top), math.ceil(top - y0)),
            ),
        )
        for name, box in boxes
        for x0, y0, x1, y1 in [box.padded(4).extents]
    ]


def set_images_axis(axes: Axes) -> None:
    """Mark the x axis as critic images, written 20k."""
    axes.set_xlabel("critic images")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def set_log_axis(axes: Axes) -> None:
    """Make the y axis logarithmic, with plain numbers at 1, 2 and 5."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def draw_noise_floor(axes: Axes, report: Report) -> float | None:
    """Draw the noise floor of the validation scores as a line, and return it; None where it wasn't measured."""
    name, floor = report.validation_metric, report.validation_floor
    if floor is None:
        return None
    value = f"{numbers.metric_title(name)} on val {numbers.format_validation(name, floor)}"
    text = f"noise floor, {value}:\nreal train images against val"
    axes.axhline(floor, color=GREY, linestyle="--", linewidth=1.2, label=text)
    return floor


def cut_outliers(axes: Axes, values: Array) -> None:
    """Cut the y axis to the 1st to 99th percentile where a few huge values would flatten the rest, and say so."""
    low, high = np.percentile(values, [1, 99])
    if values.max() - values.min() > 5 * (high - low) > 0:
        axes.set_ylim(low - 0.15 * (high - low), high + 0.15 * (high - low))
        axes.annotate("axis cut", (0.98, 0.98), xycoords="axes fraction", ha="right", va="top", fontsize=7, color=GREY)


def decimate(ys: Array) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return which points of a curve to draw: all, or the lowest and the highest of each stretch of a pixel's width."""
    size = -(-len(ys) // _CURVE_BINS)
    if size <= 2:
        return np.arange(len(ys))
    whole = np.append(ys, np.full(-len(ys) % size, np.nan)).reshape(-1, size)
    low, high = np.where(np.isfinite(whole), whole, np.inf), np.where(np.isfinite(whole), whole, -np.inf)
    first = np.arange(len(whole)) * size
    chosen = np.concatenate([[0], first + low.argmin(axis=1), first + high.argmax(axis=1), [len(ys) - 1]])
    return np.unique(chosen)


def to_array(values: Sequence[float | None]) -> Array:
    """Return values as an array, NaN for None: a line leaves it out."""
    return np.array(values, dtype=np.float64)
