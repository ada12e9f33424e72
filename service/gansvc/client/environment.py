"""Environment of the local cluster's processes: a known one, whatever the shell holds that starts them.

The cluster outlives the shell and serves jobs of others, so of a shell's variables only those on a list reach it.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from gansvc.errors import ClusterError
from gansvc.files import filesystems
from gansvc.spec import drivercommand

_SYSTEM = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "PYTHONNOUSERSITE")
_CACHES = ("XDG_CACHE_HOME", "TORCH_HOME")
_DEVICES = (
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"),
    *("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PROXIES = tuple(
    spelt for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for spelt in (name, name.upper())
)
_CA_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_STORAGES = tuple(name for names in filesystems.ENVIRONMENT.values() for name in names)
PASSED_VARIABLES = frozenset(
    (*_SYSTEM, *_CACHES, *_DEVICES, *_THREADS, *_PROXIES, *_CA_BUNDLES, *_STORAGES, *filesystems.SETTINGS)
)
"""Names of the shell's variables that reach the cluster, beside those that begin with one of PASSED_PREFIXES."""
PASSED_PREFIXES = ("LC_", "GANSVC_")


def select_variables(shell: Mapping[str, str], also: Iterable[str] = ()) -> dict[str, str]:
    """Return what of a shell's variables reaches the cluster.

    Args:
        shell: the variables.
        also: names that the user's config file adds.
    """
    names = PASSED_VARIABLES.union(also)
    return {name: value for name, value in shell.items() if name in names or name.startswith(PASSED_PREFIXES)}


def of_cluster(home: Path, also: Iterable[str] = ()) -> dict[str, str]:
    """Return the environment that this process starts the local cluster of a home folder in.

    Args:
        home: the folder of the cluster's state.
        also: names that the user's config file adds.
    """
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    ours = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(home / "auth_token"),
        # On Linux `ray start` turns 127.0.0.1 into the machine's outer address and listens there, unless this is off.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
    }
    return _user_name() | select_variables(os.environ, also) | _home_variable(home) | drivercommand.ENVIRONMENT | ours


def refuse_python_path(variables: Mapping[str, str]) -> None:
    """Make sure that the cluster finds what this process may have found by a PYTHONPATH that doesn't reach it.

    Raises:
        ClusterError: it doesn't.
    """
    if variables.get("PYTHONPATH") == os.environ.get("PYTHONPATH"):
        return
    code = "from importlib.util import find_spec; print(*[n for n in ('gansvc', 'ray', 'torch') if not find_spec(n)])"
    asked = subprocess.run([sys.executable, "-P", "-c", code], env=dict(variables), capture_output=True, text=True)
    if absent := asked.stdout.split():
        raise ClusterError(
            f"{', '.join(absent)}: found here by PYTHONPATH alone, which doesn't reach the local cluster; let it "
            "through with `gansvc config environment PYTHONPATH`, or install them"
        )


def _user_name() -> dict[str, str]:
    """Return a name for this user, which torch asks for: a container's user may have none."""
    try:
        return {"USER": getpass.getuser()}
    except (OSError, KeyError):  # KeyError before Python 3.13
        return {"USER": f"user-{os.getuid()}"}


def _home_variable(home: Path) -> dict[str, str]:
    """Return where this user is at home, which Ray asks for: in the cluster's own folder where that isn't known."""
    folder = os.path.expanduser("~")
    return {"HOME": folder if Path(folder).is_absolute() else str(home)}
