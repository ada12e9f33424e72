"""What the driver says of a job while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gansvc.cluster import monitor as monitoring
from gansvc.cluster.monitor import Monitor
from gansvc.cluster.timeleft import Pace
from gansvc.errors import ClusterError
from gansvc.spec.job import JobSpec
from gansvc.store import layout, statusline
from gansvc.store.folder import Folder
from gansvc.store.records import DataRecord, Progress, Status


def at(label: str, images: int) -> Progress:
    return Progress(
        label=label, seed=0, step=1, steps=9, critic_images=images, images_per_second=1.0, updated=time.time()
    )


def test_the_status_names_the_metric_of_its_validation_scores(tiny: Callable[..., JobSpec], tmp_path: Path) -> None:
    for name, spec in (("kid", tiny()), ("fid", tiny(search={"objective": "fid"}))):
        folder = Folder(tmp_path / name)
        Monitor(folder, f"tiny-{name}", spec).enter("TRAINING")
        status = folder.read_record("status.json", Status)
        assert status is not None and (status.objective, status.phase) == (name, "TRAINING")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("gansvc.cluster.monitor.time.monotonic", lambda: now[0])
    return now


def test_the_pace_leaves_out_the_start_of_the_processes(clock: list[float]) -> None:
    pace = Pace()
    assert pace.images_per_second(0, []) == 0
    clock[0] += 60
    assert pace.images_per_second(100, [at("lsgan", 100)]) == 0
    clock[0] += 5
    assert pace.images_per_second(600, [at("lsgan", 600)]) == 0, "too little to go by"
    clock[0] += 15
    assert pace.images_per_second(2100, [at("lsgan", 2100)]) == 100


def test_the_pace_leaves_out_what_an_earlier_start_did(clock: list[float]) -> None:
    pace = Pace()
    pace.images_per_second(5000 + 3000, [at("lsgan", 3000)])
    clock[0] += 10
    assert pace.images_per_second(5000 + 4000, [at("lsgan", 4000)]) == 100
    clock[0] += 10
    assert pace.images_per_second(5000 + 5000 + 2000, [at("lsgan", 5000), at("wgan", 2000)]) == 100


def test_the_time_left_rests_on_what_the_driver_read(
    tiny: Callable[..., JobSpec], clock: list[float], tmp_path: Path
) -> None:
    # The user's own file isn't read once more: it may hold other images by now, or none.
    spec = tiny(dataset={"name": "npz", "path": str(tmp_path / "gone.npz")}, losses=["lsgan"], training__epochs=20)
    folder = Folder(tmp_path / "job")
    folder.write_record(layout.DATA, DataRecord(images={"train": 100, "val": 9, "test": 9}, channels=1))
    monitor, left = Monitor(folder, "job", spec), []
    monitor.enter("TRAINING")
    for images, seconds in ((500, 0), (1000, 20)):
        clock[0] += seconds
        folder.write("train/lsgan-seed0/progress.json", at("lsgan", images).model_dump_json())
        monitor.update()
        status = folder.read_record("status.json", Status)
        left.append(status.seconds_left if status else None)
    assert left == [None, 40], "1,000 of 2,000 images are left, at 25 a second"


def test_what_is_still_to_come_makes_the_time_left_the_least(
    tiny: Callable[..., JobSpec], clock: list[float], tmp_path: Path
) -> None:
    folder = Folder(tmp_path / "job")
    folder.write_record(layout.DATA, DataRecord(images={"train": 100, "val": 9, "test": 9}, channels=1))
    monitor = Monitor(folder, "job", tiny(losses=["lsgan"], training__epochs=20))
    monitor.enter("TRAINING")
    for images in (500, 1000):
        clock[0] += 20
        folder.write("train/lsgan-seed0/progress.json", at("lsgan", images).model_dump_json())
        monitor.update()
    status = read(folder)
    assert (status.seconds_left, status.at_least) == (40, True) and "at least 40 s left" in statusline.line(status)


def test_the_scores_have_a_pace_from_the_first_one_on(
    tiny: Callable[..., JobSpec], clock: list[float], tmp_path: Path
) -> None:
    folder = Folder(tmp_path / "job")
    monitor = Monitor(folder, "job", tiny())
    monitor.enter("EVALUATING")
    monitor.score((), 4)
    monitor.update()
    assert (read(folder).seconds_left, read(folder).scoring) == (None, ())
    assert "preparing the scores" in statusline.line(read(folder)) and "left" not in statusline.line(read(folder))
    clock[0] += 20
    monitor.score(("lsgan-seed0", "wgan-seed0"), 4)
    monitor.update()
    assert read(folder).seconds_left is None and "scoring lsgan-seed0, wgan-seed0" in statusline.line(read(folder))
    clock[0] += 10
    monitor.score(("wgan-seed0", "real"), 3)
    monitor.update()
    assert (read(folder).seconds_left, read(folder).at_least) == (90, True), "three at 30 seconds each"
    clock[0] += 40
    monitor.update()
    assert read(folder).seconds_left == 50
    monitor.enter("REPORTING")
    status = read(folder)
    assert (status.seconds_left, status.scoring, status.at_least) == (None, (), False)
    monitor.end("SUCCEEDED")
    assert (read(folder).seconds_left, read(folder).at_least) == (0, False)


def read(folder: Folder) -> Status:
    status = folder.read_record("status.json", Status)
    assert status is not None
    return status


@pytest.mark.parametrize("name", ["trial-one", "trial-00000-x"])
def test_a_job_or_a_loss_may_be_named_like_a_trial(name: str, tiny: Callable[..., JobSpec], tmp_path: Path) -> None:
    spec = tiny(name=name, losses=[{"name": "lsgan", "label": "trial-00000"}], search={"trials": 2})
    folder = Folder(tmp_path / f"{name}-20260101-000000-aaaa")
    search = folder / "search" / "trial-00000"
    search.write("trials.json", "[]")
    for trial in ("trial-00000", "trial-00001"):
        search.write(f"{trial}/seed0/progress.json", at("trial-00000", 7).model_dump_json())
    search.write(f"trial-00001/{layout.TRIAL_ENDED}", "")
    monitor = Monitor(folder, folder.uri.rpartition("/")[2], spec)
    monitor.enter("SEARCHING")
    monitor.update()
    status = folder.read_record("status.json", Status)
    assert status is not None and status.trials == (1, 2) and [p.critic_images for p in status.current] == [7]
    monitor.end("FAILED", "why")
    status = folder.read_record("status.json", Status)
    assert status is not None and (status.phase, status.error, status.trials) == ("FAILED", "why", (1, 2))


def test_a_damaged_record_does_not_keep_a_job_from_its_last_status(
    tiny: Callable[..., JobSpec], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(tmp_path)
    folder.write("train/lsgan-seed0/progress.json", "{")
    monitor = Monitor(folder, "tiny-20260101-000000-aaaa", tiny())
    monitor.enter("TRAINING")
    monitor.end("SUCCEEDED")
    status = folder.read_record("status.json", Status)
    assert status is not None and status.phase == "SUCCEEDED" and status.finished is not None
    assert "progress.json is not a Progress" in capsys.readouterr().out


def test_what_a_job_lacks_stands_in_its_status_and_a_resume_tries_again(
    tiny: Callable[..., JobSpec], tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    monitor = Monitor(folder, "tiny-20260101-000000-aaaa", tiny())
    monitor.note_missing("the model", "no space")
    monitor.end("SUCCEEDED")
    status = folder.read_record("status.json", Status)
    assert status is not None and status.missing == ("the model",) and not status.complete
    assert status.warnings == ("the model could not be made (no space); `gansvc resume` tries again",)
    assert status.model_copy(update={"missing": (), "scores": (3, 3)}).complete


@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_job_whose_folder_is_taken_away_ends_and_does_not_make_it_again(
    tiny: Callable[..., JobSpec],
    tmp_path: Path,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
) -> None:
    monkeypatch.setattr(monitoring, "PERIOD", 0.05)
    monkeypatch.setattr(monitoring, "OBJECT_STORAGE_PERIOD", 0.05)
    around = Folder(tmp_path / "jobs") if place == "local" else Folder(f"s3://{bucket}/jobs")
    (around / "tiny-1").write("job.yaml", "")
    codes: list[int] = []
    left, folder = threading.Event(), Folder(around.path("tiny-1"), creates=False)

    def leave(code: int) -> None:
        codes.append(code)
        left.set()

    with Monitor(folder, "tiny-1", tiny(), leave) as monitor:
        monitor.enter("TRAINING")
        assert folder.exists("status.json")
        deadline = time.monotonic() + 30
        # On an object storage a status that is on its way when the rest is deleted stays.
        while not left.wait(0.5):
            assert time.monotonic() < deadline
            around.delete("tiny-1")
        with pytest.raises(ClusterError, match="was taken away or renamed while the job ran"):
            monitor.end("FAILED")
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert codes == [3] and told == [
        f"Error: the job's folder {folder.uri} was taken away or renamed while the job ran, so the job ends; "
        "`gansvc resume` with the folder's new path goes on, if there is one"
    ]
    assert around.tree() == {}
