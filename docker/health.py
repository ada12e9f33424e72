"""Whether this container does what it was started for; Docker's HEALTHCHECK, by Python's standard library alone.

A head answers for its control store and its raylet, a worker for its raylet. Any other container, such as one that runs
a gansvc command, has nothing to answer for and is healthy as long as it runs.
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

RAYLET = "http://127.0.0.1:52365/api/local_raylet_healthz"
CONTROL_STORE = "http://127.0.0.1:8265/api/gcs_healthz"


def checks(commands: Iterable[list[str]]) -> list[str]:
    """Return the addresses that must answer, given the command lines of the container's processes."""
    for words in commands:
        if any(Path(program).name == "ray" and verb == "start" for program, verb in pairwise(words[:3])):
            return [RAYLET, CONTROL_STORE] if "--head" in words else [RAYLET]
    return []


def commands(processes: Path = Path("/proc")) -> list[list[str]]:
    """Return the command lines of all processes that can be seen."""
    found = []
    for process in processes.glob("[0-9]*"):
        try:
            found.append((process / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1])
        except OSError:  # it has ended meanwhile
            continue
    return found


def answers(address: str) -> bool:
    """Return whether an address of this container answers with success, past any proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=4) as reply:
            return b"success" in reply.read()
    except OSError:
        return False


if __name__ == "__main__":
    silent = [address for address in checks(commands()) if not answers(address)]
    print(*silent, sep="\n")  # noqa: T201 - Docker keeps it
    sys.exit(bool(silent))
