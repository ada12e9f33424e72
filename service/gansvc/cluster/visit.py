"""What doctor and prefetch run on a cluster (python -m gansvc.cluster.visit): its answer is a JSON line in its log."""

from __future__ import annotations

import argparse
import sys

from pydantic import ValidationError

from gansvc import compatibility
from gansvc.cluster import nodes
from gansvc.cluster.nodes import NodeFiles, NodeState
from gansvc.errors import ClusterError, GansvcError, SpecError
from gansvc.schema.bounded import Some, Texts
from gansvc.spec import jobfile
from gansvc.store.records import Record

ANSWER = "gansvc-visit: "
"""What the line of the answer begins with."""


class Answer(Record):
    """What was found, on every node."""

    nodes: Some[NodeState] = ()
    files: Some[NodeFiles] = ()
    """What was brought, where that was asked for."""
    warnings: Texts = ()
    error: str = ""
    """Why there is nothing else."""
    exit_code: int = 0


def answered(log: str) -> Answer:
    """Return what a visit answers in its log.

    Raises:
        ClusterError: it holds no whole answer, or a fault of the cluster's.
        SpecError: it found a fault of the job's.
    """
    line = next((line for line in log.splitlines() if line.startswith(ANSWER)), "")
    try:
        answer = Answer.model_validate_json(line.removeprefix(ANSWER))
    except ValidationError:
        last = next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "it wrote nothing")
        raise ClusterError(compatibility.unfit(log) or f"the check ended early on the cluster ({last[:300]})") from None
    if answer.error:
        raise (SpecError if answer.exit_code == SpecError.exit_code else ClusterError)(answer.error)
    return answer


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
        spec = jobfile.unpacked(given.spec) if given.spec else None
        if given.bring and spec:
            answer = Answer(files=tuple(nodes.bring_everywhere(spec, given.mirror)), warnings=warnings)
        else:
            answer = Answer(nodes=tuple(nodes.look_everywhere(given.storage, spec)), warnings=warnings)
    except GansvcError as error:
        answer = Answer(error=str(error), exit_code=error.exit_code)
    print(f"{ANSWER}{answer.model_dump_json()}", flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
