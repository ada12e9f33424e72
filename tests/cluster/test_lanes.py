"""Several runs on the session's cluster, one after the other: each is trained, and one that can't be is left behind."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from gansvc.client import jobsapi, local
from gansvc.cluster import lanes, scoring
from gansvc.cluster.training import Assets
from gansvc.gan import checkpoint, data
from gansvc.gan.run import RunPlan
from gansvc.spec import jobfile
from gansvc.spec.capacity import WorkerResources
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord

pytestmark = pytest.mark.ray

SEEDS = (0, 1, 2, 3)
BROKEN = 1
"""The run whose folder holds a checkpoint of another one."""


def test_one_worker_trains_all_its_runs_but_the_one_that_fails(
    tiny: Callable[..., JobSpec], cluster: local.Cluster, tmp_path: Path
) -> None:
    spec, folder = tiny(losses=["lsgan"], training__images=64, training__evaluations=1), Folder(tmp_path)
    folder.write("job.yaml", jobfile.dump(spec))
    checkpoint.save(folder / str(BROKEN) / "checkpoints", 1, {}, {"seed": "another run's"})

    target = jobsapi.Target(cluster.dashboard, local.token())
    jobsapi.submit(target, "lanes", shlex.join([sys.executable, __file__, str(tmp_path)]), {})
    log = "".join(jobsapi.logs(target, "lanes", follow=True))
    assert jobsapi.driver_state(target, "lanes") == "SUCCEEDED", log[-3000:]

    ended = {seed: (state, reason) for seed, state, reason in json.loads(folder.read("ended.json") or b"")}
    assert {seed: state for seed, (state, _) in ended.items()} == {
        seed: "failed" if seed == BROKEN else "finished" for seed in SEEDS
    }
    assert "another run" in ended[BROKEN][1]
    records = [folder.read_record(f"{seed}/run.json", RunRecord) for seed in (0, BROKEN)]
    assert records[0] and records[1] and records[0].values == records[1].values == spec.loss("lsgan").values()


def main(folder: Folder) -> None:
    """Train four runs in one lane of one worker."""
    ray.init()
    spec, worker = jobfile.parse((folder.read("job.yaml") or b"").decode()), WorkerResources(0.5, 0)
    images = data.load(spec.dataset)
    validator, labels = scoring.validator(spec, images.val[:60], worker), ray.put(None)
    assets = Assets(ray.put(images.train[:160]), validator, labels, 160)
    todo = [(RunPlan(spec, "lsgan", seed, 1, 1, 64), folder / str(seed)) for seed in SEEDS]
    records = lanes.train_all(todo, assets, worker, 1, 1)
    folder.write("ended.json", json.dumps([[record.seed, record.state, record.reason] for record in records]))


if __name__ == "__main__":
    main(Folder(sys.argv[1]))
