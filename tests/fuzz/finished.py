"""A yard with a finished job, whose files the cases damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gansvc.report import build, markdown
from gansvc.spec import jobfile
from gansvc.store.folder import Folder

from ..builders.jobs import make_job, make_spec
from .fuzzing import Yard, closed_port, opened

ID = "small-20260101-000000-aaaa"
JSON = ("status.json", "submission.json", "report/report.json")
RECORDS = ("evaluation/lsgan-seed0.json", "evaluation/real.json", "train/lsgan-seed0/run.json")
LINES = ("search/lsgan/trials.json", "train/lsgan-seed0/history.jsonl", "train/lsgan-seed0/evaluations.jsonl")
PROGRESS = {
    "label": "lsgan",
    "seed": 0,
    "step": 1,
    "steps": 9,
    "critic_images": 5,
    "images_per_second": 1.5,
    "updated": 0,
}


@contextmanager
def opened_with_job(root: Path) -> Iterator[Yard]:
    """Make a yard in a folder, with a spec and one finished job, whose driver's cluster has ended."""
    with opened(root) as yard:
        made, folder = make_job(root / "made"), Folder(yard.jobs / ID)
        report = build.build(made, make_spec()).model_copy(update={"job": ID})
        for name in (*RECORDS, *LINES):  # few files, because every case looks at all of them
            folder.write(name, made.read(name) or b"")
        shutil.rmtree(root / "made")
        folder.write_record("report/report.json", report)
        folder.write("report/report.md", markdown.render(report, ()))
        folder.write("report/report.html", "<p>page</p>")
        status = {"job": ID, "name": "small", "phase": "SUCCEEDED", "started": 1.0, "updated": 2.0, "finished": 2.0}
        status |= {"trials": [4, 4], "current": [PROGRESS], "warnings": ["one"], "best_objective": 0.1}
        folder.write("status.json", json.dumps(status))
        sent = {"address": f"http://127.0.0.1:{closed_port()}", "submitted": 1.0, "host": "elsewhere", "home": "h"}
        sent |= {"mark": "m", "attempt": 2, "mirrored": False, "earlier": [{**sent, "mark": "l", "attempt": 1}]}
        folder.write("submission.json", json.dumps(sent))
        folder.write("job.yaml", jobfile.dump(make_spec()))
        shutil.copytree(yard.jobs, yard.root / "kept")
        yield yard


def restore(yard: Yard) -> None:
    """Undo what a case changed."""
    for path in [path for path in yard.jobs.iterdir() if path.name != ID]:
        shutil.rmtree(path)
    kept = {path.relative_to(yard.root / "kept"): path for path in (yard.root / "kept").rglob("*") if path.is_file()}
    for path in [path for path in yard.jobs.rglob("*") if path.is_file()]:
        if path.relative_to(yard.jobs) not in kept:
            path.unlink()
    for name, path in kept.items():
        if not (yard.jobs / name).is_file() or (yard.jobs / name).read_bytes() != path.read_bytes():
            shutil.copyfile(path, yard.jobs / name)
    yard.clear()
    (yard.work / "job.yaml").write_text("name: a\ndataset: histology\nlosses: [lsgan]\n")


def looked_at(yard: Yard) -> None:
    """Run every command that reads a job; each ends well or in a sentence, and writes to the job's folder alone."""
    before = {path: data for path, data in yard.files().items() if f"/{ID}" not in path}
    for args in (("list",), ("status",), ("status", "--json"), ("logs",), ("report",), ("report", "--format=json")):
        yard.run(*args, asks=True)  # those whom a record names
    yard.run("logs", "--attempt=1", asks=True)
    yard.run("resume", "--detach", asks=True)
    yard.run("compare", ID, str(yard.jobs / ID))
    assert {path: data for path, data in yard.files().items() if f"/{ID}" not in path} == before
