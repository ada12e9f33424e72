"""What the doctor of gansvc 0.1 runs on a cluster: it is told that the two have unlike versions."""

from __future__ import annotations

import argparse
import sys

from gansvc import compatibility
from gansvc.errors import ClusterError
from gansvc.store.inspection import Answer


def main(arguments: list[str] | None = None) -> int:
    """Print the answer for a client of another version; one of this version runs ``gansvc.cluster.visit``."""
    parser = argparse.ArgumentParser(prog="python -m gansvc.visit", description=__doc__)
    parser.add_argument("--client", required=True, help="the versions of the client")
    given, _ = parser.parse_known_args(arguments)
    answer = Answer()
    try:
        compatibility.check_client(given.client)
    except ClusterError as error:
        answer = Answer(error=str(error), exit_code=error.exit_code)
    print(answer.line(), flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
