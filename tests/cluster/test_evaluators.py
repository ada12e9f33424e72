"""Evaluators on the session's cluster: one checkpoint, shared by one, two or three of them, has one score."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gansvc.client import jobsapi, local
from gansvc.cluster import evaluation, scoring
from gansvc.gan import checkpoint, data
from gansvc.gan.networks import build_generator
from gansvc.spec import jobfile
from gansvc.spec.capacity import WorkerResources
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord
from gansvc.store.scores import Score

pytestmark = pytest.mark.ray

Make = Callable[..., JobSpec]
RUN = RunRecord(label="wgan", seed=0, values={}, state="finished", best_step=7)
LIMIT = 60.0


class Watched(evaluation.Evaluator):
    """An evaluator that leaves a file for each part, and keeps its part until as many evaluators have one."""

    def extract(self, run: RunRecord | None, part: int = 0, parts: int = 1) -> evaluation.Extracted:
        if run is not None:
            self.target.write(f"part-{part}-{os.getpid()}", "")
            deadline = time.monotonic() + LIMIT
            while len(taken(self.target)) < parts and time.monotonic() < deadline:
                time.sleep(0.05)
        return super().extract(run, part, parts)


def taken(target: Folder) -> dict[str, str]:
    """Return the parts that were extracted, with the process that did it."""
    return {part: process for _, part, process in (n.split("-") for n in target.names() if n.startswith("part-"))}


def test_a_checkpoint_has_one_score_whatever_the_number_of_evaluators(
    tiny: Make, cluster: local.Cluster, tmp_path: Path
) -> None:
    # Chunks of 50, 50 and 30 samples: two evaluators can't share them evenly.
    spec, folder = tiny(evaluation__samples=130), Folder(tmp_path)
    torch.manual_seed(0)
    weights = build_generator(spec.network, 3).state_dict()
    checkpoint.save_best(folder / "train" / "wgan-seed0" / "checkpoints", weights, 7, 0.5)
    folder.write("job.yaml", jobfile.dump(spec))

    target = jobsapi.Target(cluster.dashboard, local.token())
    jobsapi.submit(target, "evaluators", shlex.join([sys.executable, __file__, str(tmp_path)]), {})
    log = "".join(jobsapi.logs(target, "evaluators", follow=True))
    assert jobsapi.driver_state(target, "evaluators") == "SUCCEEDED", log[-3000:]
    # With three evaluators a second time, nothing is left to score.
    said = json.loads(folder.read("scored.json") or b"")
    assert said == [
        [1, ["real", "wgan-seed0"]],
        [2, ["wgan-seed0"]],
        [3, ["wgan-seed0"]],
        [3, []],
        ["crowded", ["wgan-seed0"]],
    ]

    alone = (folder / "1").read_record("wgan-seed0.json", Score)
    assert alone is not None and alone.step == 7 and alone.contract.samples == 130
    assert set(alone.metrics) == {"is", "is_std", "fid", "kid", "kid_std", "precision", "recall", "f_score"}
    for count in (2, 3):
        processes = taken(folder / str(count))
        assert len(processes) == count and len(set(processes.values())) == count, "each evaluator took a part"
        shared = (folder / str(count)).read_record("wgan-seed0.json", Score)
        assert shared is not None and shared.metrics == alone.metrics and shared.contract == alone.contract
        for file in ("wgan-seed0.png", "wgan-seed0.audit.json", "wgan-seed0.pairs.png"):
            expected = (folder / "1").read(file)
            assert expected is not None and (folder / str(count)).read(file) == expected


def main(folder: Folder) -> None:
    """Score one checkpoint with one, two, three and three evaluators, then with two where only one finds a place."""
    import ray

    ray.init()
    spec = jobfile.parse((folder.read("job.yaml") or b"").decode())
    images = data.load(spec.dataset)
    few = data.Images(images.train[:160], images.val[:60], images.test[:60])

    def score(target: Folder, cpus: float, at_once: int) -> list[str]:
        done = [*scoring.score_all(spec, [RUN], folder / "train", target, few, WorkerResources(cpus, 0), at_once)]
        assert [error for _, error in done if error] == []
        return sorted(name for name, _ in done)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "Evaluator", Watched)
        scored: list[tuple[int | str, list[str]]] = [(1, score(folder / "1", 0.5, 1))]
        for name in ("2", "3", "crowded"):
            (folder / name).write("real.json", (folder / "1").read("real.json") or b"")
        scored += [(count, score(folder / str(count), 0.5, count)) for count in (2, 3, 3)]
    scored.append(("crowded", score(folder / "crowded", 0.6 * ray.cluster_resources()["CPU"], 2)))
    folder.write("scored.json", json.dumps(scored))


if __name__ == "__main__":
    main(Folder(sys.argv[1]))
