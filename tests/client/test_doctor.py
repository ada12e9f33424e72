"""The doctor and prefetch where no Ray runs: what is well, what is wrong, how to mend it, and the exit code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest

from gansvc import compatibility
from gansvc.catalog.datasets import DATASETS
from gansvc.client import doctor, nodechecks
from gansvc.cluster import visit
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store.inspection import ANSWER, NodeState

from ..builders.commands import Run

SPEC = """
name: small
dataset: {name: breastmnist, root: %s}
losses: [lsgan]
evaluation: {extractor: efficientnet-lite0}
"""


@pytest.fixture
def run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "GANSVC_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "job.yaml").write_text(SPEC % (tmp_path / "root"))
    return run


def checked(run: Run, *args: str) -> tuple[int, dict[str, dict[str, str]]]:
    code, out, err = run("doctor", *args, "--json")
    assert err == ""
    return code, {check["name"]: check for check in json.loads(out)}


def test_a_good_set_up_passes(run: Run, tmp_path: Path) -> None:
    code, checks = checked(run)
    assert code == 0 and {check["state"] for check in checks.values()} == {"ok"}
    assert {"python", "gansvc", "ray", "cluster", "reached", "workers", "storage", "GPUs"} <= set(checks)
    assert not (tmp_path / "home").exists() and not list((tmp_path / "jobs").iterdir())
    assert "how to mend it" in run("doctor")[1]


def test_a_storage_that_cannot_be_written_exits_3(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    code, checks = checked(run, "--storage", str(tmp_path / "file" / "jobs"))
    assert code == 3 and checks["storage"]["state"] == "fault"
    assert str(tmp_path / "file") in checks["storage"]["mend"]


def test_a_cache_that_cannot_be_written_is_a_note_with_its_fix(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("GANSVC_CACHE", str(tmp_path / "file" / "cache"))
    code, checks = checked(run)
    assert code == 0 and checks["cache"]["state"] == "note" and checks["storage"]["state"] == "ok"
    assert str(tmp_path / "file" / "cache") in checks["cache"]["mend"]
    assert "set GANSVC_CACHE to a folder of your own" in checks["cache"]["mend"]


def test_a_job_is_checked_for_its_files_and_its_room(run: Run, tmp_path: Path) -> None:
    code, checks = checked(run, "job.yaml")
    assert code == 0 and checks["data set"]["state"] == "note" and "gansvc prefetch" in checks["data set"]["mend"]
    assert checks["weights"]["state"] == "ok"
    code, checks = checked(run, "job.yaml", "--set", "dataset={name: npz, path: none.npz}")
    assert code == 3 and checks["data set"]["state"] == "fault" and "none.npz" in checks["data set"]["mend"]
    code, checks = checked(run, "job.yaml", "--set", "training.workers=256", "--set", "training.batch_size=256")
    assert code == 3 and "256 workers" in checks["CPUs"]["found"] and "training.workers" in checks["CPUs"]["mend"]


@pytest.mark.parametrize(
    ("address", "name", "words"),
    [
        ("http://127.0.0.1:9", "reached", "can't be reached"),
        ("nonsense", "address", "is not a cluster"),
        ("http://192.0.2.1:99999999", "address", "is not a cluster"),
    ],
)
def test_a_cluster_that_is_not_there_exits_3(run: Run, address: str, name: str, words: str) -> None:
    code, checks = checked(run, "--cluster", address)
    assert code == 3 and words in checks[name]["mend"] and "workers" not in checks


def test_a_token_is_judged_and_never_shown(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, checks = checked(run, "--cluster", "http://127.0.0.1:9")
    assert checks["token"]["state"] == "note" and "can run code" in checks["token"]["mend"]
    (tmp_path / "token").write_text("secret-of-lab")
    (tmp_path / "token").chmod(0o644)
    run("config", "lab.cluster", "https://127.0.0.1:9")
    run("config", "lab.token_file", str(tmp_path / "token"))
    code, checks = checked(run, "--cluster", "lab")
    assert code == 3 and checks["token"]["mend"] == f"chmod 600 {tmp_path / 'token'}"
    (tmp_path / "token").chmod(0o600)
    code, checks = checked(run, "--cluster", "lab")
    assert checks["token"]["state"] == "ok" and "secret" not in json.dumps(checks)
    run("config", "lab.ca_file", str(tmp_path / "token"))
    code, checks = checked(run, "--cluster", "lab")
    assert code == 3 and "holds no certificate" in checks["address"]["mend"]


def test_nodes_that_differ_are_named(tiny: Callable[..., JobSpec]) -> None:
    well = NodeState(node="a (1)", cpus=1, gpus=0, gansvc="0.1.0", ray="2.60.0", torch="2.14")
    states = [
        well,
        well.model_copy(
            update={"node": "b (2)", "torch": "", "gpus": 1, "cpus": 2, "storage": "storage: /x can't be written"}
        ),
        NodeState(node="c (3)", problem="No module named 'gansvc'"),
    ]
    checks = [
        (check.name, check.state, check.found) for check in nodechecks.check_nodes(states, tiny(training__workers=1))
    ]
    assert ("workers", "fault", "c (3)") in checks and ("workers", "ok", "2 of 3 answer: a (1), b (2)") in checks
    assert ("gansvc there", "fault", "not on b (2)") in checks and ("storage", "fault", "not on b (2)") in checks
    assert ("CPUs", "ok", "3") in checks and ("GPUs", "ok", "1") in checks


def test_a_client_without_torch_is_well_for_a_cluster_elsewhere_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_torch(name: str) -> str:
        if name == "torch":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr("gansvc.client.doctor.version", without_torch)
    assert {check.state for check in doctor._installation(trains=False)} == {"ok"}
    assert [check.name for check in doctor._installation(trains=True) if check.state == "fault"] == ["gansvc"]


# --- prefetch -------------------------------------------------------------------------------------------------------


def a_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a small file as a mirror's breastmnist."""
    folder.mkdir()
    images = np.zeros((4, 28, 28), np.uint8)
    np.savez(folder / "breastmnist.npz", train_images=images, val_images=images, test_images=images)
    digest = hashlib.md5((folder / "breastmnist.npz").read_bytes(), usedforsecurity=False).hexdigest()
    entry = DATASETS["breastmnist"]
    monkeypatch.setitem(DATASETS, "breastmnist", type(entry)(**(vars(entry) | {"md5": digest})))


def test_prefetch_brings_the_files_here_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_set(tmp_path / "mirror", monkeypatch)
    monkeypatch.setenv("GANSVC_MIRROR", "/nowhere")
    code, out, _ = run("prefetch", "job.yaml", "--from", "mirror")
    path = tmp_path / "root" / "breastmnist.npz"
    assert code == 0 and f"breastmnist.npz fetched to {path}" in out and path.is_file()
    assert f"breastmnist.npz found at {path}" in run("prefetch", "job.yaml")[1]
    assert checked(run, "job.yaml")[1]["data set"]["state"] == "ok"


def test_prefetch_of_what_cannot_be_had_is_one_sentence(run: Run, tmp_path: Path) -> None:
    code, out, err = run("prefetch", "job.yaml", "--from", str(tmp_path / "empty"))
    assert code == 3 and out == "" and "download failed" in err and len(err.splitlines()) == 1
    assert run("prefetch", "job.yaml", "--set", "dataset={name: npz, path: none.npz}")[0] == 2
    assert run("prefetch", "nothing")[0] == 2


def test_prefetch_takes_a_job_too(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "jobs" / "small-20260101-000000-aaaa"
    folder.mkdir(parents=True)
    (folder / "job.yaml").write_text("name: small\ndataset: histology\nlosses: [lsgan]\n"
                                     "evaluation: {extractor: efficientnet-lite0}")  # fmt: skip
    code, out, _ = run("prefetch", "small")
    assert code == 0 and "needs no download" in out


# --- what runs on the cluster ---------------------------------------------------------------------------------------


def test_a_visit_answers_a_client_of_another_version_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert visit.main(["--client", "gansvc=9.9.9"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    answer = json.loads(line.removeprefix(ANSWER))
    assert "the cluster has gansvc" in answer["error"] and answer["exit_code"] == 3


def test_a_spec_travels_as_one_word(tiny: Callable[..., JobSpec]) -> None:
    word = jobfile.pack(tiny(name="n"))
    assert " " not in word and jobfile.unpack(word) == tiny(name="n")
    assert compatibility.local_versions().count(" ") == 0
