"""Bringing a job's files to a folder of the user's: which names come, where they go, and what is never overwritten."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gansvc.errors import ClusterError, SpecError
from gansvc.store.delivery import deliver, is_safe_name
from gansvc.store.folder import Folder

from ..builders.deliveries import OURS, copy
from ..object_storage import request

THEIRS = "theirs-20260101-000000-bbbb"


def files_in(path: Path) -> dict[str, str]:
    """Return every file below a folder, hidden ones too, with its content."""
    return {str(file.relative_to(path)): file.read_text() for file in path.rglob("*") if file.is_file()}


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """Return a job folder on a disk and in an object storage."""
    if request.param == "local":
        return Folder(tmp_path / "jobs" / OURS)
    return Folder(f"s3://{request.getfixturevalue('bucket')}/jobs") / OURS


# --- what comes -----------------------------------------------------------------------------------------------------


def test_a_copy_leaves_out_what_is_skipped_at_its_top(folder: Folder, tmp_path: Path) -> None:
    names = {"job.yaml", "report/report.md", "report/figures/a.png", "model/search/x"}
    for name in (*names, "search/wgan/trials.json", "train/a/run.json"):
        folder.write(name, f"content of {name}")
    copy(folder, tmp_path / "deep" / "copy", skip=("search", "train"))
    assert files_in(tmp_path / "deep" / "copy") == {name: f"content of {name}" for name in names}


def test_a_copy_of_everything_is_equal(folder: Folder, tmp_path: Path) -> None:
    for name, data in (("a", b"\x00\x01"), ("sub/b", b"text"), ("empty", b""), ("long", bytes(range(256)) * 100_000)):
        folder.write(name, data)
    copy(folder, tmp_path / "copy")
    there = Folder(tmp_path / "copy")
    assert set(there.tree()) == {"a", "sub/b", "empty", "long"}
    assert all(there.read(name) == folder.read(name) for name in there.tree())
    copy(folder, tmp_path / "copy", job="")  # an empty folder is anybody's, and this is no job's: nothing is lost


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../evil", "/evil", "a//b", ".ssh/keys", "a/.bashrc", "a\0b", "a\nb", "a\u202eb", "", "a/"],
)
def test_a_name_that_hides_or_leads_elsewhere_is_not_taken(name: str) -> None:
    assert not is_safe_name(name) and is_safe_name("report/figures/größe 1.png")


@pytest.mark.parametrize("key", ["../../evil", "a/../../evil", "./evil", "/evil", "a//evil", ".ssh/authorized_keys"])
def test_an_object_with_a_name_that_leads_out_is_left_behind(bucket: str, tmp_path: Path, key: str) -> None:
    folder = Folder(f"s3://{bucket}/jobs") / "job"
    folder.write("good", "x")
    request(os.environ["AWS_ENDPOINT_URL"], "PUT", f"/{bucket}/jobs/job/{key}", b"from outside")
    copy(folder, tmp_path / "deep" / "copy")
    assert files_in(tmp_path) == {"deep/copy/good": "x"}


# --- where it goes --------------------------------------------------------------------------------------------------


def test_a_link_in_the_target_is_not_written_through(folder: Folder, tmp_path: Path) -> None:
    folder.write("status.json", f'{{"job": "{OURS}"}}')
    folder.write("report/report.md", "new")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "report.md").write_text("mine")
    target = tmp_path / "target"
    copy(folder, target)
    shutil.rmtree(target / "report")
    (target / "report").symlink_to(tmp_path / "outside")
    with pytest.raises(ClusterError, match="target/report is a link"):
        copy(folder, target)
    assert (tmp_path / "outside" / "report.md").read_text() == "mine"
    (tmp_path / "named").symlink_to(target)
    (target / "report").unlink()
    copy(folder, tmp_path / "named")
    assert (target / "report" / "report.md").read_text() == "new", "the user's own path may be a link"


def test_another_jobs_files_are_not_mixed_with_these(folder: Folder, tmp_path: Path) -> None:
    folder.write("report/report.md", "ours")
    for name in ("status.json", "report/report.json", "model/model.json"):
        target = tmp_path / name.replace("/", "-")
        Folder(target).write(name, f'{{"job": "{THEIRS}", "more": 1}}')
        with pytest.raises(SpecError, match=f"TO: {target} holds the files of {THEIRS}, not of {OURS}; give another"):
            copy(folder, target)
        assert len(files_in(target)) == 1


def test_a_job_is_pulled_again_over_itself(folder: Folder, tmp_path: Path) -> None:
    folder.write("status.json", f'{{"job": "{OURS}", "phase": "TRAINING"}}')
    copy(folder, tmp_path / "target")
    folder.write("status.json", f'{{"job": "{OURS}", "phase": "SUCCEEDED"}}')
    copy(folder, tmp_path / "target")
    assert "SUCCEEDED" in (tmp_path / "target" / "status.json").read_text()


def test_files_that_are_no_jobs_stay_as_they_are(folder: Folder, tmp_path: Path) -> None:
    folder.write("report/report.md", "ours")
    folder.write("job.yaml", "ours")
    target = tmp_path / "project"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    copy(folder, target)
    assert files_in(target) == {"notes.txt": "mine", "job.yaml": "ours", "report/report.md": "ours"}
    (target / "report" / "report.md").unlink()
    (target / "job.yaml").write_text("mine")
    with pytest.raises(SpecError, match=f"TO: {target} holds job.yaml already, and nothing there says .* {OURS}; give"):
        copy(folder, target)
    assert files_in(target) == {"notes.txt": "mine", "job.yaml": "mine"}


def test_what_fails_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    for target in (tmp_path / "new", tmp_path / "old"):
        (tmp_path / "old").mkdir(exist_ok=True)
        with pytest.raises(KeyboardInterrupt), deliver(target, OURS) as delivery:
            delivery.put("report/report.md", 1, lambda: (b"x",))
            raise KeyboardInterrupt
    assert not (tmp_path / "new").exists() and list((tmp_path / "old").iterdir()) == []


def test_a_file_that_the_disk_cannot_hold_is_refused_before_it_is_copied(tmp_path: Path) -> None:
    refused = pytest.raises(ClusterError, match=r"has 8\d*\.\d GB, and the disk of .* left; free space on it, or give")
    with refused, deliver(tmp_path / "to", OURS) as delivery:
        delivery.put("model/weights", 8 * 10**16, lambda: pytest.fail("nothing is read"))
