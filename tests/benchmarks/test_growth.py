"""What a job's looks cost as it grows, counted in requests at S3's own protocol; and that nobody waits for a look."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gansvc.cluster import earlier, search
from gansvc.cluster import monitor as monitoring
from gansvc.cluster.monitor import Monitor
from gansvc.store.folder import Folder
from gansvc.store.records import Progress, Status

from .. import object_storage
from ..benchmarks import made_jobs

JOB = "made-20260101-000000-aaaa"
TRIALS = 400


def status(folder: Folder) -> Status:
    found = folder.read_record("status.json", Status)
    assert found is not None
    return found


def test_a_look_at_400_trials_takes_at_most_200_requests(
    bucket: str, gate: object_storage.Gate, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(f"s3://{bucket}/jobs/{JOB}")
    made_jobs.searching(folder, TRIALS, 4)
    monitor = Monitor(folder, JOB, made_jobs.spec(TRIALS + 4))
    monitor.enter("SEARCHING")
    counts = []
    for _ in range(6):
        gate.clear()
        monitor.update()
        counts.append(len(gate.seen))
    assert max(counts) <= 200, counts
    assert counts[-1] <= 30, "what has ended is not read again"
    found = status(folder)
    assert found.trials == (TRIALS, TRIALS + 4) and len(found.current) == 4
    assert found.best_objective == pytest.approx(0.1), "the best of all, though no look reads them all"
    # One that has ended meanwhile is read once more.
    last = made_jobs.progress(TRIALS, ended=True).model_copy(update={"objective": 0.01})
    trial = folder / "search" / made_jobs.LABEL / f"trial-{TRIALS:05d}"
    trial.write_record("seed0/progress.json", last)
    trial.write("ended", "")
    monitor.update()
    found = status(folder)
    assert found.trials[0] == TRIALS + 1 and len(found.current) == 3 and found.best_objective == 0.01


def test_a_search_is_told_and_concluded_by_requests_in_proportion_to_its_trials(
    bucket: str, gate: object_storage.Gate
) -> None:
    spec, folder = made_jobs.spec(40), Folder(f"s3://{bucket}/jobs/{JOB}")
    made_jobs.searching(folder, 40, 0)
    gate.clear()
    begun = earlier.read_trials(spec, [made_jobs.LABEL], folder / "search")[made_jobs.LABEL]
    assert len(begun) == 40 and all(trial.over and trial.reports for trial in begun)
    concluded = search._write_trials(spec, made_jobs.LABEL, folder / "search" / made_jobs.LABEL)
    assert [trial.trial for trial in concluded][:2] == ["trial-00000", "trial-00001"]
    # Twice four files of each trial; the records by two requests, lines and words by three.
    assert len(gate.seen) <= 40 * 2 * 11 + 10, len(gate.seen)


@pytest.fixture
def hung(
    bucket: str, gate: object_storage.Gate, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Folder, Monitor, threading.Event]]:
    """Return a job folder, its monitor at work, whose look hangs at the storage, and what lets it go on."""
    begun, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(monitoring, "OBJECT_STORAGE_PERIOD", 0.3)
    folder = Folder(f"s3://{bucket}/jobs/{JOB}")
    made_jobs.searching(folder, 2, 1)

    def hang() -> None:
        begun.set()
        go_on.wait(60)

    with Monitor(folder, JOB, made_jobs.spec(3)) as monitor:
        monitor.enter("SEARCHING")
        gate.before("GET .*list-type=2", hang)
        assert begun.wait(30)
        yield folder, monitor, go_on
        go_on.set()


def test_the_end_of_a_job_waits_for_no_look(hung: tuple[Folder, Monitor, threading.Event]) -> None:
    folder, monitor, go_on = hung
    ending = threading.Thread(target=lambda: monitor.end("STOPPED"))
    ending.start()
    ending.join(15)
    assert not ending.is_alive()
    go_on.set()
    monitor._thread.join()
    assert status(folder).phase == "STOPPED", "a look that comes late changes nothing"


def test_a_job_gives_signs_of_life_while_a_look_takes_long(hung: tuple[Folder, Monitor, threading.Event]) -> None:
    folder, monitor, go_on = hung
    first, deadline = status(folder).updated, time.monotonic() + 15
    while status(folder).updated == first:
        assert time.monotonic() < deadline, "the look that hangs keeps the job silent"
        time.sleep(0.1)
    go_on.set()
    monitor.end("SUCCEEDED")
    assert status(folder).trials == (2, 3)


def test_a_record_is_read_by_two_requests_and_comes_whole_where_it_is_replaced(
    bucket: str, gate: object_storage.Gate
) -> None:
    folder = Folder(f"s3://{bucket}/run")
    old, new = made_jobs.progress(1, ended=False), made_jobs.progress(1, ended=True)
    old = old.model_copy(update={"label": "x"})
    new = new.model_copy(update={"label": "x" * 900})
    folder.write_record("progress.json", old)
    gate.clear()
    assert folder.read_record("progress.json", Progress) == old
    assert [line.split()[0] for line in gate.seen] == ["HEAD", "GET"]
    gate.before("GET .*progress.json", lambda: folder.write_record("progress.json", new))
    assert folder.read_record("progress.json", Progress) == new
    folder.write_record("progress.json", new)
    gate.before("GET .*progress.json", lambda: folder.write_record("progress.json", old))
    assert folder.read_record("progress.json", Progress) == old
    assert folder.read_record("none.json", Progress) is None


def test_a_folder_on_this_machine_is_looked_at_as_an_object_storage(tmp_path: Path) -> None:
    folder = Folder(tmp_path / JOB)
    made_jobs.searching(folder, 5, 2)
    monitor = Monitor(folder, JOB, made_jobs.spec(7))
    monitor.enter("SEARCHING")
    monitor.update()
    found = status(folder)
    assert (found.trials, len(found.current)) == ((5, 7), 2) and found.best_objective == pytest.approx(0.1)
