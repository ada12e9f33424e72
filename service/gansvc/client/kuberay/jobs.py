"""RayJobs through the API server: create, find, read the log of, watch and delete them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from gansvc.client.kuberay import causes, connection
from gansvc.client.kuberay.client import PODS, RAYCLUSTERS, RAYJOBS, Client, Item, RefusedError, warnings
from gansvc.client.kuberay.namespace import Namespace
from gansvc.errors import ClusterError
from gansvc.files import patience
from gansvc.store.driverstate import ENDED, Driver
from gansvc.store.records import STATUS_LINE

OURS = "app.kubernetes.io/managed-by=gansvc"
_MAX_FAILURES = 6
"""Failures in a row after which following gives up; two seconds apart and more."""
_TAIL = 400
"""Lines of a log among which its last status line is looked for; one comes every twenty seconds."""


def submit(space: Namespace, rayjob: Item) -> None:
    """Create a RayJob.

    Raises:
        ClusterError: the API server can't be reached or refuses.
    """
    connection.connect(space).create(RAYJOBS, rayjob)


def list_rayjobs(space: Namespace) -> list[Item]:
    """Return the RayJobs that gansvc sent to a namespace.

    Raises:
        ClusterError: the API server can't be reached or refuses.
    """
    return connection.connect(space).list_objects(RAYJOBS, labelSelector=OURS)[0]


def find_driver(space: Namespace, name: str) -> Driver | None:
    """Return how a RayJob is, with what stands in its way in words; None if there is none.

    Raises:
        ClusterError: the API server can't be reached or refuses.
    """
    api = connection.connect(space)
    rayjob = api.get(RAYJOBS, name)
    if rayjob is None:
        return None
    driver = causes.driver(rayjob, time.time())
    if driver.state in ("SUCCEEDED", "STOPPED"):
        return driver
    found = _problems(api, rayjob, past=driver.state != "RUNNING")
    return Driver(driver.state, "; ".join([part for part in (driver.message, *found) if part]))


def logs(space: Namespace, name: str, follow: bool = False) -> Iterator[str]:
    """Yield the lines that a RayJob's driver wrote; when following, until the RayJob has ended.

    Raises:
        ClusterError: there is no such RayJob, it has no log yet, or the API server stays away while followed.
    """
    api = connection.connect(space)
    shown: dict[str, int] = {}
    for rayjob in watch(space, name):
        if rayjob is None:
            raise ClusterError(
                f"the RayJob {name} isn't in namespace {api.space.name}; it was deleted, its log with it"
            )
        ended = causes.driver(rayjob, time.time()).state in ENDED
        pod = _submitter(api, name)
        if pod and pod.get("status", {}).get("phase") in ("Running", "Succeeded", "Failed"):
            yield from _rest_of_log(api, pod, shown, follow and not ended)
        elif not follow:
            driver = find_driver(space, name)
            raise ClusterError(f"{name} has no log yet: {driver.message if driver else 'it is gone'}")
        if ended or not follow:
            return


def last_logged_status(space: Namespace, name: str) -> str | None:
    """Return the last status that a RayJob's driver wrote into its log, as JSON, or None if there is none."""
    api = connection.connect(space)
    pod, found = _submitter(api, name), None
    if pod is None:
        return None
    try:
        for line in api.log(pod["metadata"]["name"], tailLines=_TAIL):
            if line.startswith(STATUS_LINE):
                found = line.removeprefix(STATUS_LINE)
    except RefusedError as error:
        if error.status not in (400, 404):  # the pod has no log yet, or none any more
            raise
    return found


def stop(space: Namespace, name: str, seconds: float = patience.DELETION) -> None:
    """Delete a RayJob with its cluster and wait until it is gone.

    Raises:
        ClusterError: the API server can't be reached or refuses, or the RayJob stays.
    """
    api, deadline = connection.connect(space), time.monotonic() + seconds
    if not api.delete(RAYJOBS, name):
        return
    for rayjob in watch(space, name):
        if rayjob is None:
            return
        if time.monotonic() > deadline:
            raise ClusterError(
                f"{name} is still there {seconds:.0f} s after it was deleted; is KubeRay's operator running?"
            )


def watch(space: Namespace, name: str) -> Iterator[Item | None]:
    """Yield a RayJob now, after each change and every few seconds; None once it is gone, and then no more.

    Raises:
        ClusterError: the API server refuses, or can't be reached several times in a row.
    """
    api, failures = connection.connect(space), 0
    while True:
        try:
            items, version = api.list_objects(RAYJOBS, fieldSelector=f"metadata.name={name}")
            failures = 0
            yield items[0] if items else None
            if not items:
                return
            for kind, item in api.watch(RAYJOBS, version, fieldSelector=f"metadata.name={name}"):
                yield None if kind == "DELETED" else item
                if kind == "DELETED":
                    return
        except ClusterError as error:
            status = error.status if isinstance(error, RefusedError) else 0
            if status == 410:
                continue  # the watch began too far back: list again
            failures += 1
            if (0 < status < 500 and status != 429) or failures >= _MAX_FAILURES:
                raise
            time.sleep(2 * failures)


def _rest_of_log(api: Client, pod: Item, shown: dict[str, int], follow: bool) -> Iterator[str]:
    """Yield the lines of a pod's log that weren't shown yet; a connection that ends early is taken up by the caller."""
    key, number = pod["metadata"]["uid"], 0
    try:
        for number, line in enumerate(api.log(pod["metadata"]["name"], follow=follow), start=1):
            if number > shown.get(key, 0):
                shown[key] = number
                if not line.startswith(STATUS_LINE):
                    yield line
    except ClusterError as error:
        if not follow or (isinstance(error, RefusedError) and error.status in (401, 403)):
            raise


def _submitter(api: Client, name: str) -> Item | None:
    """Return the newest pod that carries the driver's log, or None."""
    pods, _ = api.list_objects(PODS, labelSelector=f"job-name={name}")
    return max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)


def _problems(api: Client, rayjob: Item, past: bool) -> list[str]:
    """Look at what belongs to a RayJob, and with ``past`` at events too, which a job at work has behind it."""
    name, cluster = rayjob["metadata"]["name"], rayjob.get("status", {}).get("rayClusterName", "")
    try:
        pods, _ = api.list_objects(PODS, labelSelector=f"job-name={name}")
        if cluster:
            pods += api.list_objects(PODS, labelSelector=f"ray.io/cluster={cluster}")[0]
        about = {name, cluster, *(pod["metadata"]["name"] for pod in pods)} - {""}
        events = warnings(api, about) if past else []
        return causes.problems(api.get(RAYCLUSTERS, cluster) if cluster else None, pods, events)
    except RefusedError as error:
        if error.status == 403:
            return [f"why can't be seen: {error}"]
        raise
