"""Command lines drawn at random, on good and on damaged job folders: what holds of each stands in ``Yard.run``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gansvc.client import local
from gansvc.report import build, provenance
from gansvc.report.compare import Comparison, merge
from gansvc.report.model import Report, Versions
from gansvc.store.folder import Folder

from ..builders.jobs import make_spec
from .finished import ID, JSON, LINES, RECORDS, looked_at, opened_with_job, restore
from .fuzzing import NASTY, Yard, cases, changed, damaged, texts

KUBE = {"address": "k8s://lab/gansvc", "submitted": 1.0, "mirrored": True}


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    with opened_with_job(tmp_path_factory.mktemp("yard")) as yard:
        yield yard


@pytest.fixture(autouse=True)
def _good_again(yard: Yard) -> None:
    restore(yard)


# Job names and options

names = st.one_of(
    st.sampled_from(NASTY),
    texts,
    st.sampled_from((ID, ID[:5], f"../jobs/{ID}", f"/{ID}", f"{ID}/../..", f"{ID}/report", "./" + ID, "\0")),
)
looking = st.sampled_from(
    (
        *(
            ("status",),
            ("status", "--json"),
            ("report",),
            ("report", "--format", "json"),
            ("report", "--format", "html"),
        ),
        *(("logs",), ("stop",), ("compare", ID), ("compare", "--json", ID), ("pull", "--all")),
    )
)
storages = st.one_of(
    st.sampled_from((*NASTY, "file:///", "mock://x", "foo://bar", "://", "s3:", "file://host/x", "hdfs", "a" * 300)),
    texts,
).filter(lambda text: not text.startswith(("s3://", "gs://", "gcs://", "abfs", "hdfs://", "viewfs")))


@cases(60)
@given(looking, names)
@example(("pull",), "\ud800")
@example(("pull",), "a\nb")
def test_any_name_of_a_job_is_found_or_refused_and_nothing_is_written(
    yard: Yard, command: tuple[str, ...], name: str
) -> None:
    before = yard.files()
    ended = yard.run(*command, "--", name)
    if ended.code == 0 and command[0] == "pull":  # what was pulled lies in the working folder
        yard.clear()
        (yard.work / "job.yaml").write_bytes(before[str(yard.work / "job.yaml")] or b"")
    assert yard.files() == before
    if not ID.startswith(name) and "/" not in name and name not in (".", "..") and not name.startswith("-"):
        assert ended.code == 2, ended


@cases(30)
@given(st.sampled_from(("list", "status", "report", "logs", "stop")), storages)
@example("list", "\udcff")
def test_any_storage_is_listed_or_refused(yard: Yard, command: str, storage: str) -> None:
    before = yard.files()
    yard.run(command, f"--storage={storage}")
    assert yard.files() == before


words = st.one_of(
    names,
    st.sampled_from(
        (
            *(
                "validate",
                "schema",
                "init",
                "submit",
                "list",
                "status",
                "report",
                "sample",
                "compare",
                "evaluate",
                "version",
            ),
            *(
                "--help",
                "--json",
                "--set",
                "--force",
                "--dry-run",
                "--report",
                "-n",
                "-o",
                "--seed",
                "--class",
                "--format",
            ),
            *("job.yaml", "-1", "0", "999999999999999999999", "training.epochs=2", "md", "x.png", "{name: npz}"),
        )
    ),
)


@cases(60)
@given(
    st.sampled_from(
        ("validate", "schema", "init", "submit", "list", "status", "report", "sample", "compare", "evaluate")
    ),
    st.lists(words, max_size=4),
)
@example("init", ["a" * 300])
@example("init", ["a\nb/c"])
@example("report", ["-o", "a" * 300])
@example("report", ["-o", "none/such/file"])
@example("report", ["--bogus"])
def test_any_command_line_ends_in_a_code_and_sentences(yard: Yard, command: str, args: list[str]) -> None:
    # A path that leads out is the user's own choice of a place to write to.
    assume(not any(".." in word or word.startswith(("/", "~")) for word in args))
    if command == "submit":
        args = [*args, "--dry-run"]
    ended = yard.run(command, *args)
    assert ended.code in (0, 2) or "storage" in ended.err or command in ("status", "report", "list"), ended
    restore(yard)


# Damaged files


def at_work(yard: Yard) -> None:
    """Turn the job into one that isn't over, so that its driver is asked for."""
    path = yard.jobs / ID / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"phase": "TRAINING", "finished": None}))


@cases(20)
@given(st.sampled_from(JSON), st.data())
def test_a_changed_record_is_shown_or_refused(yard: Yard, name: str, data: st.DataObject) -> None:
    record = json.loads((yard.root / "kept" / ID / name).read_text())
    if name == "submission.json" and data.draw(st.booleans()):
        record = data.draw(st.sampled_from((KUBE, {"address": "http://ray.example:8265", "submitted": 1.0})))
    (yard.jobs / ID / name).write_text(json.dumps(data.draw(changed(record))))
    if data.draw(st.booleans()) and name == "submission.json":
        at_work(yard)
    looked_at(yard)
    restore(yard)


@cases(10)
@given(st.sampled_from((*JSON, "report/report.md", "job.yaml")), st.data())
@example("status.json", b'{"job": "x", "name": "", "phase": "FAILED", "started": 1e999, "updated": NaN}')
@example("status.json", b'{"job": "\\u001b[2J", "name": "", "phase": "FAILED", "started": 1, "updated": 1}')
@example("report/report.md", b"\x1b]0;title\x07 \xff")
@example("submission.json", b'{"address": "", "submitted": 1, "home": "\\u0000", "mark": "m"}')
@example("job.yaml", b"name: \xff")
@example("submission.json", b'{"address": "", "submitted": 1, "earlier": [{"address": "k8s:", "submitted": 1}]}')
@example("submission.json", b'{"address": "http://x", "submitted": 1, "attempt": 99999999999999999999}')
def test_a_damaged_record_is_shown_or_refused(yard: Yard, name: str, data: st.DataObject | bytes) -> None:
    content = data if isinstance(data, bytes) else data.draw(damaged((yard.root / "kept" / ID / name).read_bytes()))
    (yard.jobs / ID / name).write_bytes(content)
    if name in ("job.yaml", "submission.json"):
        at_work(yard)
    looked_at(yard)
    restore(yard)


@pytest.mark.parametrize("job", ["../evil", "/evil", "x/../../evil", "a\nb", "."])
def test_a_job_folder_names_no_other_place_to_pull_to(yard: Yard, job: str) -> None:
    record = json.loads((yard.jobs / ID / "status.json").read_text())
    (yard.jobs / ID / "status.json").write_text(json.dumps(record | {"job": job}))
    before = {path for path in yard.files() if not path.startswith(str(yard.work))}
    yard.run("pull", str(yard.jobs / ID))
    assert {path for path in yard.files() if not path.startswith(str(yard.work))} == before


def test_a_job_folder_gets_the_local_clusters_token_for_no_other_address(yard: Yard) -> None:
    from gansvc.client.rayclusters import LocalCluster
    from gansvc.store.submissions import Submission

    cluster = local.Cluster(mark="m", pid=1, dashboard="http://127.0.0.1:8265", temp="/tmp/none")
    home = yard.root / "state"
    (home / "cluster.json").write_text(cluster.model_dump_json())
    (home / "auth_token").write_text("secret")
    sent = Submission(address=cluster.dashboard, submitted=1.0, home=str(home), mark="m")
    assert LocalCluster().target(sent).token == "secret"
    assert LocalCluster().target(sent.model_copy(update={"address": "http://evil.example"})).token is None
    assert LocalCluster().target(sent.model_copy(update={"mark": "another"})).token is None
    (home / "cluster.json").unlink()


@cases(40)
@given(st.data())
def test_any_reports_compare_or_are_refused(yard: Yard, data: st.DataObject) -> None:
    record = json.loads((yard.root / "kept" / ID / "report" / "report.json").read_text())
    other = yard.jobs / "small-20260101-000001-bbbb"
    other.joinpath("report").mkdir(parents=True, exist_ok=True)
    (other / "report" / "report.json").write_text(json.dumps(data.draw(changed(record | {"job": other.name}, most=2))))
    yard.run("compare", ID, other.name)
    yard.run("compare", "--json", other.name, ID)


def test_two_good_reports_compare(yard: Yard) -> None:
    report = Folder(yard.jobs / ID).read_record("report/report.json", Report)
    assert report is not None
    merged = merge([report, report.model_copy(update={"job": "other"})])
    assert isinstance(merged, Comparison) and merged.jobs == (ID, "other")


@cases(40)
@given(st.sampled_from((*RECORDS, *LINES)), st.data())
def test_a_report_is_built_of_any_records_or_refused(yard: Yard, name: str, data: st.DataObject) -> None:
    from gansvc.errors import GansvcError

    path = yard.jobs / ID / name
    kept = (yard.root / "kept" / ID / name).read_text()
    record: Any = kept
    if name.endswith(".json"):
        record = json.dumps(data.draw(changed(json.loads(kept))))
    elif name.endswith(".jsonl"):
        first = json.loads(kept.splitlines()[0])
        record = "".join(json.dumps(line) + "\n" for line in data.draw(st.lists(changed(first), max_size=3)))
    path.write_text(record)
    with pytest.MonkeyPatch.context() as patch, yard.watched():
        patch.setattr(provenance, "current", lambda: Versions(python="3"))  # asks git
        try:
            build.build(Folder(yard.jobs / ID), make_spec())
        except GansvcError as error:
            assert len(str(error)) < 1000
    restore(yard)


def test_the_job_of_these_tests_is_whole(yard: Yard) -> None:
    for name in (*JSON, *RECORDS, *LINES):
        assert Path(yard.jobs / ID / name).is_file(), name
    assert yard.run("report").code == yard.run("status").code == yard.run("list").code == 0
    assert yard.run("compare", ID, ID).code == 2
