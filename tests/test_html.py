"""The page: whole in one file, in order for any reader, and, in a real browser with no network, without a fault."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from gansvc.report import drawing, html, markdown, model
from gansvc.report.build import build, write
from gansvc.store import Folder

from . import browser
from .test_report import LABELS, grid, make_job, make_run, make_spec

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """A page's elements in their order; fails on tags that don't nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == [], "unclosed tags"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes another element"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, str]:
    """A whole job with restarts and a long reason, and its page."""
    folder = make_job(tmp_path_factory.mktemp("page"))
    make_run(folder, "wgan", 1, starts=3, state="diverged", reason="the critic's loss is <b>NaN</b> " + "x" * 90)
    write(folder, build(folder, make_spec()))
    return folder, model.read_html(folder) or ""


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    path = browser.find()
    if path is None:
        pytest.skip("no Chromium on this machine: the page is tested in no browser (apt-get install chromium)")
    with browser.Browser(path, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def test_the_page_is_whole_in_one_file(written: tuple[Folder, str]) -> None:
    page = Page(written[1])
    addresses = [str(attributes["src"]) for _, attributes in page.elements if "src" in attributes]
    assert len(addresses) >= 4 + 1 + 3 + 3 + 2, "the samples, then every panel of the four figures"
    for address in addresses:
        kind, _, data = address.partition(",")
        assert kind == "data:image/png;base64"
        Image.open(io.BytesIO(base64.b64decode(data, validate=True))).verify()
    for attributes in page.all("a") + page.all("link"):
        assert str(attributes["href"]).startswith(("#", "data:")), "nothing to fetch"
    assert not page.all("script") and not page.all("iframe")
    assert "url(" not in written[1] and "@import" not in written[1]


def test_headings_contents_and_alternatives_serve_every_reader(written: tuple[Folder, str]) -> None:
    page = Page(written[1])
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [str(attributes["href"])[1:] for attributes in page.all("a")]
    assert set(targets) <= set(ids)
    sections = {"leaderboard", "samples", "training-curves", "search", "budgets", "warnings", "run-it-again"}
    assert sections <= set(targets)
    alternatives = [attributes["alt"] for attributes in page.all("img")]
    assert all(alternatives) and len(set(alternatives)) == len(alternatives)
    assert page.all("html") == [{"lang": "en"}]
    assert all(attributes.get("scope") == "col" for attributes in page.all("th"))


def test_the_page_says_what_the_markdown_says(written: tuple[Folder, str]) -> None:
    folder, text = written
    report = model.read(folder)
    assert report is not None and report.headline in text
    for label in LABELS:
        assert all(f">{label}-{letter}" in text for letter in "abcd"), "every trial"
    assert "A | B &lt;2021&gt;" in text
    first = re.search(r'<tr class="first">.*?</tr>', text, re.DOTALL)
    assert first and "wgan-gp" in first[0] and "<strong>0.0310 ± 0.0014" in first[0]
    floor = re.search(r'<tr class="floor">.*?</tr>', text, re.DOTALL)
    assert floor and "noise floor" in floor[0] and "0.0050" in floor[0]
    assert "critic_lr: 0.0002" in text, "the resolved spec"


def test_a_loss_has_its_figures_colour_in_every_table(written: tuple[Folder, str]) -> None:
    for label, colour in drawing.palette(LABELS).items():
        cells = re.findall(rf'<td style="--loss: (#\w+)" class="key loss">{label}(?:, seed \d)?</td>', written[1])
        assert len(cells) >= 1 + 2 + 1, "in the leaderboard, the runs and the budgets"
        assert set(cells) == {colour}


def test_text_is_shown_and_not_obeyed(written: tuple[Folder, str]) -> None:
    assert "&lt;b&gt;NaN&lt;/b&gt;" in written[1] and "<b>" not in written[1]
    report = model.read(written[0])
    assert report is not None
    evil = "<script>alert(1)</script> ![x](http://example.org/x.png) [y](javascript:alert(1))"
    changed = report.model_copy(update={"name": evil, "headline": evil, "warnings": (evil,)})
    page = Page(html.render(changed, markdown.render(changed), {}, []))
    assert not page.all("script") and not page.all("img")
    assert all(str(attributes["href"]).startswith("#") for attributes in page.all("a"))


def test_a_report_of_nothing_is_a_page_without_empty_sections(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "empty")
    report = build(folder, make_spec(search=None, published=None))
    write(folder, report)
    page = Page(model.read_html(folder) or "")
    ids = {attributes.get("id") for attributes in page.all("section")}
    assert {"leaderboard", "warnings"} <= ids
    assert not {"search", "samples", "training-curves", "runs"} & ids
    assert not page.all("img")


def test_a_figure_is_cut_into_its_panels_and_its_legend() -> None:
    def draw(axes: Axes, index: int) -> None:
        axes.plot([0, 1], [0, index], label="line")
        axes.set_title(f"panel {index}")

    png = drawing.panels(4, draw, across=3, legend="what it means")
    found = drawing.parts(png)
    assert [name for name, _ in found] == ["panel 0", "panel 1", "panel 2", "panel 3", "legend"]
    parts = [Image.open(io.BytesIO(part)) for _, part in found]
    whole = Image.open(io.BytesIO(png))
    for part in parts[:4]:
        assert 0.8 * whole.width / 2 < part.width <= whole.width / 2 + 1
    assert parts[4].height < parts[0].height / 2
    assert all(min(part.convert("L").tobytes()) < 150 for part in parts), "no part is blank"
    # Nothing stands between the parts: together they hold the figure's ink.
    ink = sum(_ink(part) for part in parts)
    assert ink == pytest.approx(_ink(whole), rel=0.03)
    assert drawing.parts(grid(1)) == [], "a picture without panels stays whole"


def test_photographs_in_a_panel_keep_their_colours() -> None:
    pixels = np.random.default_rng(0).random((80, 80, 3))

    def draw(axes: Axes, index: int) -> None:
        axes.imshow(pixels, interpolation="nearest")

    for _, part in drawing.parts(drawing.panels(2, draw)):
        colours = Image.open(io.BytesIO(part)).convert("RGB").getcolors(100_000)
        assert colours is not None and len(colours) > 6000


def _ink(picture: Image.Image) -> int:
    return sum(255 - value for value in picture.convert("L").tobytes())


@pytest.mark.parametrize("width", [320, 400, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_nothing_is_wrong_at_any_width(
    written: tuple[Folder, str], window: browser.Browser, width: int, scheme: str
) -> None:
    window.complaints.clear()
    window.requests.clear()
    page = Path(written[0].path(model.REPORT_HTML))
    window.open(page, width, prefers_color_scheme=scheme)
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    boxes = window.evaluate(
        "[...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth, i.clientHeight, i.alt])"
    )
    assert len(boxes) >= 13
    assert [box for box in boxes if not (box[0] and min(box[1:4]) > 30)] == [], "pictures that can't be seen"
    outside = window.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, p, li, img, figure, details, .scroll, pre')]"
        f".filter(e => e.getBoundingClientRect().right > {width}).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == [], "cut off at the right"
    paper = window.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper)[:3])) > 600) == (scheme == "light")
    assert window.complaints == []
    assert [url for url in window.requests if not url.startswith("data:")] == [page.as_uri()]


def test_the_first_screen_has_the_answer_the_leaderboard_and_the_samples(
    written: tuple[Folder, str], window: browser.Browser
) -> None:
    window.open(Path(written[0].path(model.REPORT_HTML)), 1280, 900)
    tops = window.evaluate(
        "['.answer', 'table', '.gallery img'].map(s => document.querySelector(s).getBoundingClientRect().top)"
    )
    assert tops == sorted(tops) and tops[-1] < 800


def test_print_shows_what_the_screen_folds_away(written: tuple[Folder, str], window: browser.Browser) -> None:
    window.open(Path(written[0].path(model.REPORT_HTML)), 700)
    shown = (
        "[...document.querySelectorAll('details')]"
        ".filter(d => d.offsetHeight > 20 + d.querySelector('summary').offsetHeight).length"
    )
    assert window.evaluate(shown) == 0
    window.call("Emulation.setEmulatedMedia", media="print")
    assert window.evaluate(shown) == len(LABELS) + 1, "the trials of every loss, and how to read the leaderboard"
    assert window.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    window.call("Emulation.setEmulatedMedia", media="")


def test_the_browser_would_notice(window: browser.Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<div style="width: 900px">wide</div><img src="http://example.org/x.png"><script>oops()</script>')
    window.complaints.clear()
    window.requests.clear()
    window.open(page, 400)
    assert window.evaluate("document.documentElement.scrollWidth") > 400
    assert window.evaluate("document.images[0].naturalWidth") == 0
    assert any("oops" in complaint for complaint in window.complaints)
    assert any("ERR_" in complaint for complaint in window.complaints), "the network is off"
    assert "http://example.org/x.png" in window.requests
