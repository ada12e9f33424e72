"""The Ray clusters that are reached through the Jobs API: one elsewhere, and the local one, where it differs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from platform import node

from gansvc import compatibility
from gansvc.client import access, config, jobsapi, local, plan
from gansvc.client.jobsapi import Target
from gansvc.client.visits import visit
from gansvc.errors import ClusterError, SpecError
from gansvc.files import filesystems, homefolder
from gansvc.spec import machine, splits
from gansvc.spec.job import JobSpec
from gansvc.store.inspection import Answer
from gansvc.store.submissions import LOCAL, Destination, Setting, Submission

Say = Callable[[str], None]


class RemoteCluster:
    """A Ray cluster elsewhere, reached at the address of its Jobs API."""

    computes_here = False
    """Whether jobs compute on this machine, which then needs the train extra."""
    python = "python"
    """The interpreter that runs drivers there."""

    def takes(self, cluster: str) -> bool:
        """Return whether a cluster, named as ``--cluster`` takes it, is of this kind: every address may be one."""
        return True

    def prepare(self, spec: JobSpec) -> JobSpec:
        """Return the spec as it is sent.

        Raises:
            SpecError: the job can't run there.
        """
        splits.read(spec)
        return spec

    def open(self, to: Destination, say: Say) -> Submission:
        """Return a submission to the cluster, which answers.

        Raises:
            SpecError: the address or the storage doesn't fit.
            ClusterError: the cluster doesn't start, can't be reached or refuses.
        """
        target = self._parse(to.cluster)
        if fault := self.storage_fault(to):
            raise SpecError(fault)
        for warning in compatibility.check_ray(jobsapi.check(target)):
            say(warning)
        return Submission(address=target.url, submitted=time.time())

    def reopen(self, last: Submission, storage: str, say: Say) -> Submission:
        """Return a submission like a job's last one, to a cluster that answers; as ``open`` does."""
        jobsapi.check(self.target(last))
        return last

    def find(self, cluster: Setting) -> Target | None:
        """Return the Jobs API of the cluster that jobs go to; None where none runs yet that could be asked.

        Raises:
            SpecError: that is no address.
        """
        return self._parse(cluster)

    def target(self, where: Submission) -> Target:
        """Return the Jobs API that a job was sent to."""
        return access.resolve(where.address)

    def can_be_asked(self, where: Submission) -> bool:
        """Return whether this machine can ask the cluster that a job was sent to."""
        return True

    def has_ended(self, where: Submission) -> bool:
        """Return whether it is certain that the cluster has ended."""
        return False

    def head(self, where: Submission) -> local.Cluster | None:
        """Return the head of the cluster, where it is one of this machine's processes."""
        return None

    def is_here(self, where: Submission) -> bool:
        """Return whether the cluster's processes are this machine's."""
        return False

    def kept_log(self, where: Submission, driver: str) -> str | None:
        """Return the log of a driver whose cluster has ended, or None if it wasn't kept."""
        return None

    def storage_fault(self, to: Destination) -> str:
        """Return why the cluster can't keep jobs in a storage, with the fix, or nothing."""
        if to.storage.source != "default":
            return ""
        return (
            f"--storage: {to.cluster.value} can't write to this machine's {to.storage.value}; give an s3:// URI, or a "
            "folder that both have under the same path"
        )

    def visit(self, target: Target, options: Sequence[str], spec: JobSpec | None) -> Answer:
        """Run ``gansvc.cluster.visit`` on the cluster; see ``visits.visit``."""
        return visit(target, self.python, options, spec)

    def mirror(self, mirror: str) -> str:
        """Return the folder or address that files come from, as the cluster is to read it."""
        return mirror

    def settings(self, cluster: str) -> dict[str, Setting]:
        """Return what opens the cluster, with where each value comes from; never the token itself."""
        return config.credentials(cluster)

    @staticmethod
    def _parse(cluster: Setting) -> Target:
        try:
            return access.resolve(cluster.value)
        except SpecError as error:
            raise SpecError(f"{cluster.source}: {error}") from None


class LocalCluster(RemoteCluster):
    """The cluster that gansvc starts on this machine; a job is tied to the one of these that it was sent to."""

    computes_here = True
    python = sys.executable

    def takes(self, cluster: str) -> bool:
        """Return whether that names the local cluster."""
        return cluster == LOCAL

    def prepare(self, spec: JobSpec) -> JobSpec:
        """Return the spec with absolute paths.

        Raises:
            SpecError: the job can't run on this machine.
            ClusterError: a module of the train extra isn't installed.
        """
        spec = absolute(spec)
        machine.require(machine.TRAINING, "a job on this machine")
        if obstacles := plan.make(spec).obstacles:
            raise SpecError("\n".join(obstacles))
        return spec

    def open(self, to: Destination, say: Say) -> Submission:
        """Return a submission to this machine's cluster, started first where none runs; see ``RemoteCluster.open``."""
        return self._start(to.storage.value, say)

    def reopen(self, last: Submission, storage: str, say: Say) -> Submission:
        """Return a submission to this machine's cluster, which may be another than that of the job's last one."""
        machine.require(machine.TRAINING, "a job on this machine")
        return self._start(storage, say)

    @staticmethod
    def _start(storage: str, say: Say) -> Submission:
        """Start the cluster, unless it runs.

        Raises:
            ClusterError: it doesn't start, or has other credentials for the storage than are set here.
        """
        head = local.start(say)
        if jobsapi.has_lost_all_nodes(Target(head.dashboard, local.token())):
            # Its head outlives its only node, as when the kernel ends one of the node's processes for want of memory.
            say("Ray on this machine has lost its node; it is ended")
            local.down()
            head = local.start(say)
        there = head.environment()
        # Drivers and workers have the environment that the cluster was started in, and no secret is sent after them.
        if other := [
            name for name in filesystems.credential_variables(storage) if there.get(name) != os.environ.get(name)
        ]:
            raise ClusterError(
                f"--storage: the local cluster was started with another {', '.join(other)} than is set here; "
                "end it with `gansvc down` and submit again"
            )
        return Submission(
            address=head.dashboard, submitted=time.time(), host=node(), home=str(local.home()), mark=head.mark
        )

    def find(self, cluster: Setting) -> Target | None:
        """Return the Jobs API of the local cluster, or None where none runs."""
        head = local.running()
        return Target(head.dashboard, local.token()) if head else None

    def target(self, where: Submission) -> Target:
        """Return the Jobs API that a job was sent to.

        The local cluster's token goes to that cluster alone: whoever writes a job folder may name any address in it.
        """
        head = local.known_cluster(Path(where.home))
        known = head is not None and (head.mark, head.dashboard) == (where.mark, where.address)
        return Target(where.address, local.token(Path(where.home)) if known else None)

    def can_be_asked(self, where: Submission) -> bool:
        """Return whether the local cluster that a job was sent to is this machine's."""
        return self.is_here(where)

    def has_ended(self, where: Submission) -> bool:
        """Return whether the cluster has ended: only its own machine knows."""
        head = self.head(where)
        return self.is_here(where) and (head is None or head.mark != where.mark or not head.alive())

    def head(self, where: Submission) -> local.Cluster | None:
        """Return the head of the cluster, if it is this machine's."""
        return local.known_cluster(Path(where.home)) if self.is_here(where) else None

    def is_here(self, where: Submission) -> bool:
        """Return whether the job was sent from this machine."""
        return where.host == node()

    def kept_log(self, where: Submission, driver: str) -> str | None:
        """Return the log of a driver that was kept when its cluster ended, or None."""
        return local.kept_log(driver, Path(where.home))

    def storage_fault(self, to: Destination) -> str:
        """Return nothing: what this machine can write to, its own cluster can."""
        return ""

    def visit(self, target: Target, options: Sequence[str], spec: JobSpec | None) -> Answer:
        """Run ``gansvc.cluster.visit`` with absolute paths: it runs in another folder."""
        return super().visit(target, options, spec and absolute(spec))

    def mirror(self, mirror: str) -> str:
        """Return a mirror's address, or its folder as an absolute path."""
        return mirror if not mirror or "://" in mirror else str(homefolder.expand(mirror).absolute())

    def settings(self, cluster: str) -> dict[str, Setting]:
        """Return which variables reach the cluster beside those that always do."""
        return config.environment()


def absolute(spec: JobSpec) -> JobSpec:
    """Return a spec with absolute paths: what runs on this machine's cluster runs in another folder."""
    paths = {
        "dataset.root": spec.dataset.root,
        "dataset.path": spec.dataset.path,
        "evaluation.extractor.weights": spec.evaluation.extractor.weights,
    }
    given = {field: str(homefolder.expand(path).absolute()) for field, path in paths.items() if path}
    return spec.with_values(given) if given else spec
