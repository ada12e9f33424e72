"""Compare the versions of gansvc, Ray and Python of a client and a cluster."""

from __future__ import annotations

import re
from importlib.metadata import requires, version
from platform import python_version

from gansvc.errors import ClusterError


def local_versions() -> str:
    """Return the versions of this installation as one word: ``gansvc=0.1.0,ray=2.60.0,python=3.11.9``."""
    return ",".join(f"{name}={number}" for name, number in _versions().items())


def check_client(text: str) -> list[str]:
    """Compare a client's versions with this installation's, the cluster's, and return warnings.

    Only the spec's text comes from the client, so another Ray or Python there does no harm by itself.

    Args:
        text: what ``local_versions`` returned on the client.

    Raises:
        ClusterError: the major or minor versions of gansvc differ.
    """
    theirs = dict(pair.split("=", 1) for pair in text.split(",") if "=" in pair)
    ours, warnings = _versions(), []
    client, cluster = theirs.get("gansvc", "unknown"), ours["gansvc"]
    if _minor(client) != _minor(cluster):
        raise ClusterError(
            f"the cluster has gansvc {cluster}, the client {client}; install the client's on every node "
            f"(pip install 'gansvc[train]=={client}'), or the cluster's on the client (pip install gansvc=={cluster})"
        )
    if client != cluster:
        warnings.append(f"the cluster has gansvc {cluster}, the client {client}")
    for name, title in (("ray", "Ray"), ("python", "Python")):
        if name in theirs and _minor(theirs[name]) != _minor(ours[name]):
            warnings.append(f"the cluster has {title} {ours[name]}, the client {theirs[name]}")
    return warnings


def check_ray(cluster: str) -> list[str]:
    """Judge the version of a cluster's Ray before a job is sent there, and return warnings.

    Raises:
        ClusterError: gansvc doesn't work with it.
    """
    from packaging.requirements import Requirement
    from packaging.version import InvalidVersion, Version

    needed = next(parsed for text in requires("gansvc") or () if (parsed := Requirement(text)).name == "ray")
    try:
        fits = needed.specifier.contains(Version(cluster), prereleases=True)
    except InvalidVersion:
        return [f"the cluster calls its Ray {cluster!r}; gansvc {version('gansvc')} was made for {needed.specifier}"]
    if not fits:
        raise ClusterError(
            f"the cluster runs Ray {cluster}, and gansvc {version('gansvc')} needs {needed.specifier}; "
            f"start the cluster with Ray {version('ray')}"
        )
    client = version("ray")
    return [] if _minor(client) == _minor(cluster) else [f"the cluster has Ray {cluster}, the client {client}"]


def explain_incompatibility(log: str) -> str:
    """Return what the end of a driver's log says of a cluster that has no gansvc or an old one; nothing otherwise."""
    for sign, reason in _SIGNS.items():
        if re.search(sign, log):
            return f"{reason}; install the client's on every node: pip install 'gansvc[train]=={version('gansvc')}'"
    return ""


def _versions() -> dict[str, str]:
    return {"gansvc": version("gansvc"), "ray": version("ray"), "python": python_version()}


def _minor(number: str) -> str:
    """Return the major and minor part of a version, as ``2.60``."""
    found = re.match(r"\d+\.\d+", number)
    return found[0] if found else number


_SIGNS = {
    r"No module named '?gansvc'?(\s|\)|\.pipeline|$)": "gansvc isn't installed on the cluster",
    r"No module named '?gansvc\.|unrecognized arguments: --client\b": "the cluster's gansvc is older than the client's",
}
