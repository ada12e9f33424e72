"""The page: whole in one file, in order for any reader, and, in a real browser with no network, without a fault."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from gansvc.report import drawing, html, model
from gansvc.report.build import build, write
from gansvc.store import layout
from gansvc.store.folder import Folder

from ..builders.jobs import LABELS, grid, make_job, make_run, make_score, make_spec

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Elements(HTMLParser):
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


@dataclass
class Window:
    """A page in the browser, what its console was told (errors, warnings, refused loads), and what it asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        return self.page.evaluate(script)


Open = Callable[..., Window]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start this machine's Chromium; it finds no host. Ends with the module: Playwright's loop bars any other one."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium on this machine: the page is tested in no browser (apt-get install chromium)")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND"],
            ignore_default_args=["--hide-scrollbars"],  # which users see
        ) as browser,
    ):
        yield browser


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    """Return what loads a file at a window's size in pixels, in a light or a dark scheme; narrow ones are phones."""
    with ExitStack() as stack:

        def load(path: Path, width: int, height: int = 900, scheme: Literal["light", "dark"] = "light") -> Window:
            context = stack.enter_context(
                chromium.new_context(
                    viewport={"width": width, "height": height}, color_scheme=scheme, is_mobile=width < 600
                )
            )
            window = Window(context.new_page())
            window.page.on("console", lambda message: window.complaints.append(message.text))
            window.page.on("pageerror", lambda error: window.complaints.append(str(error)))
            window.page.on("request", lambda request: window.requests.append(request.url))
            window.page.goto(path.absolute().as_uri())
            return window

        yield load


def test_the_page_is_whole_in_one_file(written: tuple[Folder, str]) -> None:
    page = Elements(written[1])
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
    page = Elements(written[1])
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [str(attributes["href"])[1:] for attributes in page.all("a")]
    assert set(targets) <= set(ids)
    sections = ["leaderboard", "samples", "warnings", "training-curves", "search", "budgets", "run-it-again"]
    assert [target for target in targets if target in sections][1:] == sections, "after the badge's own link"
    alternatives = [attributes["alt"] for attributes in page.all("img")]
    assert all(alternatives) and len(set(alternatives)) == len(alternatives)
    assert "KID on the validation split: lsgan from 0.4000 untrained to 0.0500 at best" in str(alternatives)
    assert "val KID of every trial against each searched field: n_critic in 12 trials, best lsgan 0.0400 at 1" in str(
        alternatives
    )
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
    for label, colour in ((label, look.colour) for label, look in drawing.loss_styles(LABELS).items()):
        cells = re.findall(rf'<td style="--loss: (#\w+)" class="key loss">{label}(?:, seed \d)?</td>', written[1])
        assert len(cells) >= 1 + 2 + 1, "in the leaderboard, the runs and the budgets"
        assert set(cells) == {colour}


def test_text_is_shown_and_not_obeyed(written: tuple[Folder, str]) -> None:
    assert "&lt;b&gt;NaN&lt;/b&gt;" in written[1] and "<b>" not in written[1]
    report = model.read(written[0])
    assert report is not None
    evil = "<script>alert(1)</script> ![x](http://example.org/x.png) [y](javascript:alert(1))"
    changed = report.model_copy(update={"name": evil, "headline": evil, "warnings": (evil,)})
    page = Elements(html.render(changed, {}, []))
    assert not page.all("script") and not page.all("img")
    assert all(str(attributes["href"]).startswith("#") for attributes in page.all("a"))


def test_a_report_of_nothing_is_a_page_without_empty_sections(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "empty")
    report = build(folder, make_spec(search=None, published=None))
    write(folder, report)
    page = Elements(model.read_html(folder) or "")
    ids = {attributes.get("id") for attributes in page.all("section")}
    assert {"leaderboard", "warnings"} <= ids
    assert not {"search", "samples", "training-curves", "runs"} & ids
    assert not page.all("img")


def test_a_figure_is_cut_into_its_panels_and_its_legend() -> None:
    def draw(axes: Axes, index: int) -> None:
        axes.plot([0, 1], [0, index], label="line")
        axes.set_title(f"panel {index}")

    png = drawing.draw_panels(4, draw, across=3, legend="what it means")
    found = drawing.split_panels(png)
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
    assert drawing.split_panels(grid(1)) == [], "a picture without panels stays whole"


def test_photographs_in_a_panel_keep_their_colours() -> None:
    pixels = np.random.default_rng(0).random((80, 80, 3))

    def draw(axes: Axes, index: int) -> None:
        axes.imshow(pixels, interpolation="nearest")

    for _, part in drawing.split_panels(drawing.draw_panels(2, draw)):
        colours = Image.open(io.BytesIO(part)).convert("RGB").getcolors(100_000)
        assert colours is not None and len(colours) > 6000


def _ink(picture: Image.Image) -> int:
    return sum(255 - value for value in picture.convert("L").tobytes())


@pytest.mark.parametrize("width", [320, 400, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_nothing_is_wrong_at_any_width(
    written: tuple[Folder, str], open_page: Open, width: int, scheme: str
) -> None:
    page = Path(written[0].path(layout.REPORT_HTML))
    window = open_page(page, width, scheme=scheme)
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
    written: tuple[Folder, str], open_page: Open
) -> None:
    window = open_page(Path(written[0].path(layout.REPORT_HTML)), 1280, 900)
    tops = window.evaluate(
        "['.answer', 'table', '.gallery img'].map(s => document.querySelector(s).getBoundingClientRect().top)"
    )
    assert tops == sorted(tops) and tops[-1] < 800


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_leaderboard_fits_the_page_and_what_does_not_fit_shows_that_it_scrolls(
    seeds: int, open_page: Open, tmp_path: Path
) -> None:
    folder = Folder(tmp_path / "wide-1a2b")
    labels = ("rpgan", "wgan-gp", "lsgan", "wgan")
    for place, label in enumerate(labels):
        for seed in range(seeds):
            make_run(folder, label, seed)
            score = make_score(label, seed, kid=1.1 + place + 0.01 * seed, inception_score=10.5 + seed)
            score = score.model_copy(
                update={"metrics": score.metrics | {"fid": 1234.56 + seed, "fid_inf": 1220.0 + 9 * seed}}
            )
            folder.write_record(f"evaluation/{label}-seed{seed}.json", score)
    spec = make_spec(losses=list(labels), training={"seeds": list(range(seeds))}, published=None)
    write(folder, build(folder, spec))
    sizes = "[...document.querySelectorAll('#leaderboard .scroll')].map(e => [e.scrollWidth, e.clientWidth])"
    fade = "getComputedStyle(document.querySelector('#leaderboard .scroll')).getPropertyValue('--fade')"
    for width in (1280, 1440, 1920):
        window = open_page(Path(folder.path(layout.REPORT_HTML)), width)
        window.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        found = window.evaluate(sizes)
        assert len(found) == (2 if seeds > 1 else 1) and [box for box in found if box[0] > box[1]] == [], width
        assert window.evaluate(fade) == "0px"
    window = open_page(Path(folder.path(layout.REPORT_HTML)), 700)
    assert window.evaluate(sizes)[0][0] > window.evaluate(sizes)[0][1]
    assert window.evaluate(fade) == "64px", "the right edge fades"
    bar = "(e => e.offsetHeight - e.clientHeight)(document.querySelector('#leaderboard .scroll'))"
    assert window.evaluate(bar) > 8, "the bar is there, and doesn't hide"
    window.evaluate("document.querySelector('#leaderboard .scroll').scrollLeft = 1e6")
    window.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert window.evaluate(fade) == "0px", "at the end nothing is left to come"


def test_plots_take_the_pages_paper_in_the_dark(written: tuple[Folder, str], open_page: Open) -> None:
    page = Path(written[0].path(layout.REPORT_HTML))
    brightness = {}
    for scheme in ("light", "dark"):
        window = open_page(page, 1280, scheme=scheme)
        window.evaluate("document.querySelector('.plots').scrollIntoView()")
        picture = Image.open(io.BytesIO(window.page.screenshot())).convert("L")
        left, top = (
            int(n)
            for n in window.evaluate(
                "(b => [b.left, b.top])(document.querySelector('.plots img').getBoundingClientRect())"
            )
        )
        # A corner of a plot, where nothing is drawn.
        brightness[scheme] = picture.getpixel((left + 3, top + 3))
    paper = 0x14 * 0.3 + 0x17 * 0.59 + 0x1B * 0.11
    assert brightness["light"] == 255 and brightness["dark"] == pytest.approx(paper, abs=2)


def test_warnings_are_printed_on_the_first_two_pages(
    written: tuple[Folder, str], open_page: Open, tmp_path: Path
) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext on this machine (apt-get install poppler-utils)")
    window = open_page(Path(written[0].path(layout.REPORT_HTML)), 1000)
    window.page.pdf(path=tmp_path / "page.pdf", margin={"top": "1cm", "right": "1cm", "bottom": "1cm", "left": "1cm"})
    text = subprocess.run(["pdftotext", "-layout", tmp_path / "page.pdf", "-"], capture_output=True, check=True).stdout
    pages = text.decode().split("\f")
    assert "before you believe the order" in pages[0], "the badge"
    assert any("was restarted 2 times" in page for page in pages[:2])


def test_print_shows_what_the_screen_folds_away(written: tuple[Folder, str], open_page: Open) -> None:
    window = open_page(Path(written[0].path(layout.REPORT_HTML)), 700)
    shown = (
        "[...document.querySelectorAll('details')]"
        ".filter(d => d.offsetHeight > 20 + d.querySelector('summary').offsetHeight).length"
    )
    assert window.evaluate(shown) == 0
    window.page.emulate_media(media="print")
    assert window.evaluate(shown) == len(LABELS) + 1, "the trials of every loss, and how to read the leaderboard"
    assert window.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert window.evaluate("document.querySelector('.warned').offsetHeight") > 10, "the badge"


def test_the_browser_would_notice(open_page: Open, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<div style="width: 900px">wide</div><img src="http://example.org/x.png"><script>oops()</script>')
    window = open_page(page, 400)
    assert window.evaluate("document.documentElement.scrollWidth") > 400
    assert window.evaluate("document.images[0].naturalWidth") == 0
    assert any("oops" in complaint for complaint in window.complaints)
    assert any("ERR_" in complaint for complaint in window.complaints), "the network is off"
    assert "http://example.org/x.png" in window.requests
