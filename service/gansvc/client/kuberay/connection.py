"""Connect to the API server: by the kubeconfig or, inside a pod, by the pod's own credentials."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from gansvc.client.kuberay.client import Client
from gansvc.client.kuberay.namespace import Namespace
from gansvc.errors import ClusterError, SpecError
from gansvc.files import homefolder


def connect(space: Namespace) -> Client:
    """Return the client of a namespace, by the kubeconfig or, inside a pod, by the pod's own credentials.

    Raises:
        SpecError: there is no such context, or the kubeconfig is damaged.
        ClusterError: the kubernetes package isn't installed, or there are no credentials.
    """
    return _connect(space, os.environ.get("KUBECONFIG") or "~/.kube/config")


@lru_cache(maxsize=8)
def _connect(space: Namespace, kubeconfig: str) -> Client:
    try:
        from kubernetes import client, config
        from kubernetes.config import incluster_config
    except ImportError:
        raise ClusterError("jobs on Kubernetes need the kubernetes package; pip install 'gansvc[k8s]'") from None
    found = any(homefolder.expand(path).is_file() for path in kubeconfig.split(os.pathsep) if path)
    settings = client.Configuration()
    try:
        if not found and not space.context:
            config.load_incluster_config(settings)
            name = Path(incluster_config.SERVICE_TOKEN_FILENAME).with_name("namespace").read_text().strip()
        else:
            contexts, current = config.list_kube_config_contexts(kubeconfig)
            known = {context["name"]: context["context"] for context in contexts}
            if space.context and space.context not in known:
                text = f"--cluster: the kubeconfig has no context {space.context!r}; known: {', '.join(sorted(known))}"
                raise SpecError(text)
            context = space.context or current["name"]
            config.load_kube_config(kubeconfig, context, settings, persist_config=False)
            space, name = replace(space, context=context), known[context].get("namespace") or "default"
            if not (isinstance(context, str) and isinstance(name, str)):
                raise TypeError("a context and its namespace are names")
        return Client(replace(space, name=space.name or name), client.ApiClient(settings))
    except SpecError:
        raise
    except config.ConfigException as error:
        # A section in the wrong place is repeated there, with the tokens in it.
        reason = str(error).splitlines()[0].partition("{")[0]
        raise ClusterError(
            f"there are no credentials for a Kubernetes cluster ({reason}); set KUBECONFIG, or run inside a pod"
        ) from None
    except Exception as error:
        # kubernetes takes whatever YAML it finds for a kubeconfig; what it then says may hold a token.
        reason = type(error).__name__
        raise SpecError(f"the kubeconfig {kubeconfig} is damaged ({reason}); mend it, or set KUBECONFIG") from None
