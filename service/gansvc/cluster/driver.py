"""The pipeline's interface to Ray: connect, search, train, evaluate, export."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import ray

from gansvc.catalog.datasets import SPLITS
from gansvc.cluster import failures, lanes, resources, scoring, search, sharing
from gansvc.cluster.training import Assets
from gansvc.errors import ClusterError
from gansvc.gan import data
from gansvc.gan.artifact import export
from gansvc.gan.data import Images
from gansvc.gan.run import RunPlan
from gansvc.spec import splits
from gansvc.spec.capacity import WorkerResources, count_fitting, misfit, worker_resources
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord, TrialRecord
from gansvc.store.scores import Score


@dataclass(frozen=True)
class Cluster:
    """A connected cluster with a job's images and validator in its object store."""

    images: Images
    assets: Assets
    worker: WorkerResources
    """What a worker of a run asks for."""
    trial: WorkerResources
    """What a worker of a trial asks for."""
    nodes: Sequence[WorkerResources]
    """What the nodes have."""

    @property
    def content(self) -> Mapping[str, str]:
        """Hashes of the data set and of the extractor's weights."""
        return self.assets.content

    def check(self, folder: Folder) -> None:
        """Make sure that all nodes worker a job's folder.

        Raises:
            ClusterError: they don't.
        """
        sharing.check(folder)

    def describe(self, folder: Folder) -> None:
        """Write down what the job trains on, for its report and for who estimates its time."""
        folder.write_record(layout.DATA, data.describe(self.images))

    def search(self, spec: JobSpec, labels: Sequence[str], folder: Folder) -> dict[str, list[TrialRecord]]:
        """Search losses together; label to its trials, best first."""
        workers = spec.search.workers if spec.search else 1
        return search.search(spec, labels, self.assets, folder, self.trial, self._at_once(self.trial, workers))

    def train(self, spec: JobSpec, todo: list[tuple[RunPlan, Folder]]) -> list[RunRecord]:
        """Train several runs."""
        workers = spec.training.workers
        at_once = self._at_once(self.worker, workers)
        return lanes.train_all(todo, self.assets, self.worker, workers, at_once)

    def evaluate(
        self,
        spec: JobSpec,
        runs: list[RunRecord],
        folder: Folder,
        tell: Callable[[Sequence[str], int], None] = lambda names, left: None,
    ) -> dict[str, str]:
        """Score runs' best checkpoints and the noise floor; return the reason by the name of each that failed.

        ``tell`` gets the names of what is scored, and how many scores are left, whenever that changes.

        Raises:
            ClusterError: the storage fails, or a checkpoint is damaged.
        """
        target, at_once = folder / layout.EVALUATION, self._at_once(self.worker, 1)
        failed = {}
        where = folder / layout.TRAIN, target
        for name, error in scoring.score_all(spec, runs, *where, self.images, self.worker, at_once, tell):
            if error is None:
                print(f"scored {name}", flush=True)  # noqa: T201
                continue
            if fault := failures.cluster_fault(error):
                raise fault from None
            failed[name] = failures.last_line(error)
            print(f"{name} can't be scored: {failed[name]}", flush=True)  # noqa: T201
        return failed

    def export(self, spec: JobSpec, run: RunRecord, score: Score, folder: Folder, job: str) -> dict[str, str]:
        """Write the model folder of a scored run; return the reason by the name of each file that can't be made."""
        weights = folder / layout.TRAIN / layout.run_name(run.label, run.seed) / layout.CHECKPOINTS
        classes = self.images.titles if spec.network.conditional else ()
        return export.export(folder / layout.MODEL, job, spec, self.images.channels, run, score, weights, classes)

    def _at_once(self, worker: WorkerResources, workers: int) -> int:
        return max(1, count_fitting(worker, self.nodes) // workers)


def connect(spec: JobSpec) -> Cluster:
    """Join the cluster that this process runs on, and bring the job's data into its object store.

    Raises:
        ClusterError: the cluster is too small for one run, or the data can't be fetched.
        SpecError: the data or the extractor's weights aren't what the spec says, or the images can't be scored.
    """
    images = data.load(spec.dataset)
    splits.check(spec, {split: images.split(split) for split in SPLITS}, images.no_classes)
    # Every process that needs the weights fetches them onto its node; here so that a job doesn't find out at its end.
    spec.evaluation.extractor.at_hand()
    if not ray.is_initialized():
        ray.init(address="auto", log_to_driver=True, logging_level=logging.WARNING)
    nodes = resources.list_nodes()
    if found := misfit(spec.resources, {"training": spec.training, "search": spec.search}, nodes):
        field, text = found
        raise ClusterError(f"{field}: {text}; lower {field} or resources, or add a node")
    each = worker_resources(spec.resources, any(node.gpus for node in nodes))
    worker, trial = each["training"], each["search"]
    validator, labels = scoring.validator(spec, images.val, worker), ray.put(images.labels.get("train"))
    content = images.content | {"extractor_weights": spec.evaluation.extractor.weights_hash()}
    assets = Assets(ray.put(images.train), validator, labels, len(images.train), content)
    threading.Thread(target=keep_local_copy, args=(assets.validator,), name="validator", daemon=True).start()
    return Cluster(images, assets, worker, trial, nodes)


def keep_local_copy(made: ray.ObjectRef) -> None:
    """Hold a copy on this node: were its maker's lost, none could be made again while runs have all CPUs."""
    with suppress(ray.exceptions.RayError):  # whoever needs it gets the error
        held = ray.get(made)
        threading.Event().wait()
        del held
