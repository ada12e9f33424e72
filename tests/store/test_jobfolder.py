"""New job folders: each is its job's alone, whatever the moment and the draw."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path

import pytest

from gansvc.errors import ClusterError
from gansvc.store import jobfolder
from gansvc.store.folder import Folder


def test_jobs_of_one_second_and_one_draw_get_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda count: "ab" * count)
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.append(jobfolder.new("one", str(tmp_path)).folder)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == len(set(made)) == 3
    assert {str(path) for path in tmp_path.iterdir()} == set(made)


def test_a_name_whose_ids_are_all_taken_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobfolder, "_PAUSE", 0.0)
    monkeypatch.setattr(jobfolder, "new_id", lambda name: f"{name}-20260101-000000-aaaa")
    first = jobfolder.new("one", str(tmp_path))
    Path(first.folder, "job.yaml").write_text("mine")
    with pytest.raises(ClusterError, match="has a job of each new id; submit again"):
        jobfolder.new("one", str(tmp_path))
    assert Path(first.folder, "job.yaml").read_text() == "mine"


def test_a_storage_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ClusterError, match="can't be written"):
        jobfolder.new("one", str(tmp_path / "file" / "jobs"))


def test_an_object_storage_gives_a_taken_name_to_nobody(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter(["aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr(jobfolder, "new_id", lambda name: f"{name}-20260101-000000-{next(draws)}")
    first = jobfolder.new("one", f"s3://{bucket}/jobs")
    Folder(first.folder).write("job.yaml", "mine")
    assert jobfolder.new("one", f"s3://{bucket}/jobs").id.endswith("bbbb")
