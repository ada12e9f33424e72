"""What a record, a spec, a picture or a warning holds is shown as text: nothing in it drives, turns or hides."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gansvc.cli import output
from gansvc.escapes import is_printable, printable, printable_json
from gansvc.gan import modelfolder
from gansvc.gan.artifact import card
from gansvc.report import build, drawing, html, markdown
from gansvc.report.model import Report
from gansvc.spec import jobfile
from gansvc.store.folder import Folder

from .builders.jobs import grid, make_job, make_spec
from .fuzz.artifacts import CARD
from .fuzz.fuzzing import Yard, cases, driving, opened

ID, OTHER = "small-20260101-000000-aaaa", "small-20260101-000001-bbbb"
NAMED = (
    *("\x1b", "\x9b", "\x7f", "\x85", "\u061c", "\u200b", "\u200e", "\u202e", "\u2066", "\u2028", "\ufeff", "\xad"),
    *("\U000e0041", "\ue000", "\ufffe"),
)
hidden = st.one_of(
    st.sampled_from(NAMED),
    st.text(st.characters(categories=("Cc", "Cf", "Co", "Cn", "Zl", "Zp")), min_size=1, max_size=3),
).filter(lambda text: bool(driving(text)))


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    with opened(tmp_path_factory.mktemp("yard")) as yard:
        yield yard


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return build.build(make_job(tmp_path_factory.mktemp("job")), make_spec())


@pytest.mark.parametrize("char", [*NAMED, "\ud800", "\U000e0101", "\u3164", "\u115f"])
def test_what_drives_turns_or_hides_is_an_escape(char: str) -> None:
    escape = f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"
    assert printable(f"a{char}é✓") == f"a{escape}é✓" and not is_printable(char)
    assert json.loads(printable_json(json.dumps(char, ensure_ascii=False))) == char


def test_letters_of_all_scripts_their_joiners_and_pictures_stay() -> None:
    text = "Ж é ü 肝臓 می‌خواهم क्‍ष ‏".strip("‏ ") + "👩\u200d⚕️ naïve\xa0x 1\u202f000"
    assert printable(text) == text and is_printable(text)


def test_line_ends_stay_where_they_are_asked_for() -> None:
    assert printable("a\n\tb") == "a\\u000a\\u0009b"
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\u001b"


@cases(60)
@given(st.text(max_size=20))
def test_any_text_is_the_same_value_in_json_and_in_yaml(text: str) -> None:
    shown = printable_json(json.dumps({text: [text]}, ensure_ascii=False, indent=2))
    assert json.loads(shown) == {text: [text]} and not driving(shown)
    written = jobfile.dump_plain({"a": text})
    assert not driving(written) and yaml.safe_load(written) == {"a": text}


def planted(report: Report, text: str) -> Report:
    """Return a report with a text in whatever free text it holds."""
    data = report.model_dump(mode="json")
    for name in ("headline", "warnings", "published", "versions", "contract", "columns", "floor_doubts", "dataset"):
        data[name] = _plant(data[name], text)
    for column, old in zip(data["columns"], report.columns, strict=True):
        column["key"] = old.key
    for run in data["runs"]:
        run["reason"], run["warnings"] = text, [text]
    data["dataset"] |= {"classes": [text, "b"], "no_classes": text, "duplicates": {"val": {"test": 1}}}
    data["spec"]["published"][0]["source"] = f"a{text}b"
    for trials in data["trials"].values():
        for trial in trials:
            trial["reason"] = text
    return Report.model_validate(data)


def _plant(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {key: _plant(inner, text) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plant(inner, text) for inner in value]
    return f"{value}{text}" if isinstance(value, str) and value not in ("lower", "higher") else value


def figure(text: str) -> bytes:
    """Return a figure of two panels whose names hold a text, as a page's pictures have them."""
    named, file = PngInfo(), io.BytesIO()
    named.add_text(drawing.PARTS, json.dumps([(text, (0, 0, 4, 4)), (f"{text}x", (4, 4, 8, 8))]))
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=named)
    return file.getvalue()


@cases(6)
@given(hidden)
@example("\x1b[31m")
@example("\u202e")
@example("&#x202e;")
@example("&#27;")
def test_a_report_shows_what_its_records_hold_as_text(report: Report, text: str) -> None:
    found = planted(report, text)
    written = markdown.render(found, ("losses.png",))
    assert not driving(written)
    page = html.render(found, {"losses.png": figure(text)}, [(f"wgan{text}", grid(0))])
    assert not driving(page) and "&#x202e;" not in page


@cases(6)
@given(hidden)
def test_a_models_card_shows_its_texts_as_text(text: str) -> None:
    changes = {"classes": [f"a{text}", "b"], "shares": [0.5, 0.5], "licence": text, "source": text, "torch": text}
    spec = {"published": [{"source": f"a{text}b"}]}
    made = modelfolder.ModelCard.model_validate(CARD | changes | {"loss": {"label": "x", "a": text}, "spec": spec})
    written = card.readme(made, ())
    assert not driving(written)
    block = written.split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(block) == spec


def job(yard: Yard, identity: str, report: Report, text: str) -> None:
    """Write a job folder with a text in all that can hold one."""
    folder = Folder(yard.jobs / identity)
    status = {"job": identity, "name": text, "phase": "FAILED", "started": 1.0, "updated": 2.0, "finished": 2.0}
    at_work = {"label": text, "seed": 0, "step": 1, "steps": 9, "critic_images": 5, "images_per_second": 1.5}
    status |= {"error": f"a{text}b", "warnings": [text], "best_label": text, "best_objective": 0.1, "objective": text}
    folder.write("status.json", json.dumps(status | {"current": [at_work | {"updated": 0}]}))
    folder.write("report/report.json", planted(report, text).model_copy(update={"job": identity}).model_dump_json())
    folder.write("report/report.md", f"a{text}b\n")
    folder.write("submission.json", json.dumps({"address": f"http://127.0.0.1:9/{text}", "submitted": 1.0}))


@cases(8)
@given(hidden)
@example("\x1b]0;title\x07")
@example("\u200e\u200f\u061c")
def test_a_terminal_is_shown_what_a_folder_holds_as_text(yard: Yard, report: Report, text: str) -> None:
    for identity in (ID, OTHER):
        job(yard, identity, report, text)
    # What holds of every command, that nothing in its output drives, stands in `Yard.run`.
    for args in (("list",), ("status",), ("report",), ("logs",), ("compare", ID, OTHER), ("results",)):
        yard.run(*args, asks=True)
    ended = yard.run("status", ID, "--json")
    assert json.loads(ended.out)["error"] == f"a{text}b" and json.loads(ended.out)["warnings"] == [text]
    assert text in [found["name"] for found in json.loads(yard.run("list", "--json").out)]
    assert text in json.loads(yard.run("report", "--format=json", ID).out)["headline"]
    assert text in json.loads(yard.run("compare", "--json", ID, OTHER).out)["columns"][0]["title"]


@cases(8)
@given(hidden)
def test_a_spec_is_shown_as_text_and_reads_as_itself(yard: Yard, text: str) -> None:
    source = [{"loss": "lsgan", "source": f"a{text}b"}]
    spec = {"name": "a", "dataset": "histology", "losses": ["lsgan"], "published": source}
    (yard.work / "job.yaml").write_text(yaml.safe_dump(spec))
    ended = yard.run("submit", "job.yaml", "--dry-run")
    assert yaml.safe_load(ended.out)["published"] == source
    assert json.loads(yard.run("validate", "job.yaml", "--json").out)["spec"]["published"][0]["source"] == f"a{text}b"


@cases(8)
@given(hidden)
@example("\u202e")
def test_a_class_name_that_hides_something_is_refused_as_text(yard: Yard, text: str) -> None:
    images = {f"{split}_images": np.zeros((4, 28, 28), np.uint8) for split in ("train", "val", "test")}
    labels = {f"{split}_labels": np.array(["a", f"b{text}c", "a", "a"]) for split in ("train", "val", "test")}
    np.savez(yard.work / "images.npz", **images, **labels)  # type: ignore[arg-type]
    (yard.work / "job.yaml").write_text("{name: a, dataset: {name: npz, path: images.npz}, losses: [lsgan]}")
    ended = yard.run("submit", "job.yaml", "--dry-run")
    assert ended.code == 2 and "can't be printed" in ended.err


def test_a_warning_that_quotes_a_server_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    output.configure_streams()
    record = logging.LogRecord("gansvc.x", logging.WARNING, "", 0, "it says %s", ("\x1b[2J\u202e",), None)
    assert logging.lastResort is not None
    logging.lastResort.handle(record)
    assert capsys.readouterr().err == "it says \\u001b[2J\\u202e\n"


def test_a_file_of_that_name_is_shown_as_text(yard: Yard) -> None:
    ended = yard.run("validate", "\u202etxt\x1b[2J")
    assert ended.code == 2 and "\\u202etxt\\u001b[2J" in ended.err
    assert yard.run("pull", "\u202ejob").code == 2 and Path(yard.work).is_dir()
