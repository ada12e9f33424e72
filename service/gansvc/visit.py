"""What doctor and prefetch run on a cluster: python -m gansvc.visit. Its answer is a line of JSON in its log."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from gansvc import specfile, versions
from gansvc.cluster import nodes
from gansvc.errors import GansvcError
from gansvc.records import Record

ANSWER = "gansvc-visit: "
"""What the line of the answer begins with."""


def main(arguments: list[str] | None = None) -> int:
    """Look at every node, or bring a job's files to each; print what was found and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gansvc.visit", description=__doc__)
    parser.add_argument("--client", required=True, help="the versions of the client")
    parser.add_argument("--storage", default="", help="folder or URI of all jobs")
    parser.add_argument("--spec", default="", help="the job's spec, packed")
    parser.add_argument("--bring", action="store_true", help="bring the job's files to every node")
    parser.add_argument("--mirror", default="", help="where they come from, in place of the internet")
    given = parser.parse_args(arguments)
    answer: dict[str, object]
    try:
        warnings = versions.check_client(given.client)
        spec = specfile.unpacked(given.spec) if given.spec else None
        found: Sequence[Record]
        if given.bring and spec:
            found = nodes.bring_everywhere(spec, given.mirror)
        else:
            found = nodes.look_everywhere(given.storage, spec)
        answer = {"nodes": [node.model_dump(mode="json") for node in found], "warnings": warnings}
    except GansvcError as error:
        answer = {"error": str(error), "exit_code": error.exit_code}
    print(f"{ANSWER}{json.dumps(answer)}", flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
