"""Run ``gansvc.cluster.visit`` on a cluster through its Jobs API, and parse its answer."""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Sequence
from importlib.metadata import version

from pydantic import ValidationError

from gansvc import compatibility
from gansvc.client import jobsapi
from gansvc.errors import ClusterError, SpecError
from gansvc.files import patience
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store.driverstate import ENDED
from gansvc.store.inspection import ANSWER, Answer


def visit(target: jobsapi.Target, python: str, options: Sequence[str], spec: JobSpec | None) -> Answer:
    """Run ``gansvc.cluster.visit`` on a cluster and return its answer.

    Args:
        target: the cluster's Jobs API.
        python: the interpreter that it runs with.
        options: what it is to do.
        spec: the job that it is done for, if there is one.

    Raises:
        ClusterError: it can't be run, or found a fault of the cluster's.
        SpecError: it found a fault of the job's.
    """
    name = f"gansvc-visit-{secrets.token_hex(4)}"
    words = ["-P", "-m", "gansvc.cluster.visit", "--client", compatibility.local_versions(), *options]
    words += ["--spec", jobfile.pack(spec)] if spec else []
    command = f"exec {shlex.quote(python)} {shlex.join(words)}"
    jobsapi.submit(target, name, command, {"gansvc": version("gansvc")})
    deadline = time.monotonic() + patience.VISIT
    while (driver := jobsapi.find_driver(target, name)) and driver.state not in ENDED:
        if time.monotonic() > deadline:
            jobsapi.stop(target, name)
            raise ClusterError(f"the cluster's workers gave no answer in {patience.VISIT} s; see its dashboard")
        time.sleep(0.5)
    log = "".join(jobsapi.logs(target, name))
    jobsapi.delete_driver(target, name)
    return parse_answer(log)


def parse_answer(log: str) -> Answer:
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
        raise ClusterError(
            compatibility.explain_incompatibility(log) or f"the check ended early on the cluster ({last[:300]})"
        ) from None
    if answer.error:
        raise (SpecError if answer.exit_code == SpecError.exit_code else ClusterError)(answer.error)
    return answer
