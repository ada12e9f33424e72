"""Parse the address of a Kubernetes namespace: ``k8s``, ``k8s://CONTEXT/NAMESPACE``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gansvc.errors import SpecError
from gansvc.escapes import is_printable

SCHEME = "k8s"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Namespace:
    """A namespace of a Kubernetes cluster."""

    context: str = ""
    """Context of the kubeconfig; empty for the current one, or for the cluster that this runs in."""
    name: str = ""
    """Empty for the context's own."""

    @property
    def address(self) -> str:
        """Return it as ``--cluster`` takes it."""
        return f"{SCHEME}://{self.context}/{self.name}" if self.context or self.name else SCHEME


def is_address(cluster: str) -> bool:
    """Return whether an address names a Kubernetes cluster."""
    return cluster == SCHEME or cluster.startswith(f"{SCHEME}:")


def parse(cluster: str) -> Namespace:
    """Return the namespace that ``k8s``, ``k8s://CONTEXT`` or ``k8s://CONTEXT/NAMESPACE`` names.

    A context may hold slashes, as those of EKS do: the namespace stands after the last one.

    Raises:
        SpecError: that is no such address.
    """
    if cluster == SCHEME:
        return Namespace()
    scheme, _, rest = cluster.partition("://")
    context, slash, name = rest.rpartition("/")
    context, name = (context, name) if slash else (rest, "")
    if scheme != SCHEME or not rest or not is_printable(rest) or (name and not _NAME.fullmatch(name)):
        raise SpecError(f"--cluster: {cluster!r} names no Kubernetes cluster; give k8s, or k8s://CONTEXT/NAMESPACE")
    return Namespace(context, name)
