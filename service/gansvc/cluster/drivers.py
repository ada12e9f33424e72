"""A job's driver, wherever it runs: behind Ray's Jobs API or in a RayJob on Kubernetes. The one place that tells."""

from __future__ import annotations

from collections.abc import Iterator

from gansvc.cluster import jobs
from gansvc.cluster.jobs import Driver, Target
from gansvc.cluster.kuberay import jobs as rayjobs
from gansvc.cluster.kuberay.namespace import Namespace

Place = Target | Namespace


def look(place: Place, driver: str) -> Driver | None:
    """Return how a driver is, or None if the cluster doesn't know it.

    Raises:
        ClusterError: the cluster can't be reached or refuses.
    """
    return rayjobs.look(place, driver) if isinstance(place, Namespace) else jobs.look(place, driver)


def logs(place: Place, driver: str, follow: bool = False) -> Iterator[str]:
    """Yield what a driver wrote, in pieces; when following, until it has ended.

    Raises:
        ClusterError: the cluster doesn't know it, can't be reached, or stays away while followed.
    """
    return rayjobs.logs(place, driver, follow) if isinstance(place, Namespace) else jobs.logs(place, driver, follow)


def stop(place: Place, driver: str) -> None:
    """Stop a driver and wait until it has ended.

    Raises:
        ClusterError: the cluster can't be reached, or the driver doesn't end.
    """
    if isinstance(place, Namespace):
        rayjobs.stop(place, driver)
    else:
        jobs.stop(place, driver)
