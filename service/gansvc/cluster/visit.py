"""What doctor and prefetch run on a cluster (python -m gansvc.cluster.visit): its answer is a JSON line in its log."""

from __future__ import annotations

import argparse
import sys

from gansvc import compatibility
from gansvc.cluster import nodes
from gansvc.errors import GansvcError
from gansvc.spec import jobfile
from gansvc.store.inspection import Answer


def main(arguments: list[str] | None = None) -> int:
    """Look at every node, or bring a job's files to each; print what was found and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gansvc.cluster.visit", description=__doc__)
    parser.add_argument("--client", required=True, help="the versions of the client")
    parser.add_argument("--storage", default="", help="folder or URI of all jobs")
    parser.add_argument("--spec", default="", help="the job's spec, packed")
    parser.add_argument("--bring", action="store_true", help="bring the job's files to every node")
    parser.add_argument("--mirror", default="", help="where they come from, in place of the internet")
    given = parser.parse_args(arguments)
    try:
        warnings = tuple(compatibility.check_client(given.client))
        spec = jobfile.unpack(given.spec) if given.spec else None
        if given.bring and spec:
            answer = Answer(files=tuple(nodes.fetch_to_nodes(spec, given.mirror)), warnings=warnings)
        else:
            answer = Answer(nodes=tuple(nodes.inspect_nodes(given.storage, spec)), warnings=warnings)
    except GansvcError as error:
        answer = Answer(error=str(error), exit_code=error.exit_code)
    print(answer.line(), flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
