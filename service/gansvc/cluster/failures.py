"""What the errors of Ray's tasks and worker groups come from."""

from __future__ import annotations

import ray

from gansvc.errors import ClusterError


def unwrap(error: BaseException) -> BaseException:
    """Return what a task raised: Ray's error of it is of the same class too, but says all of its traceback."""
    while isinstance(error, ray.exceptions.RayTaskError) and error.cause is not None:
        error = error.cause
    return error


def cluster_fault(error: BaseException) -> ClusterError | None:
    """Return what no other try can mend, as a full disk, from the error of a task or of a group of workers."""
    # Ray wraps what a task raised, Ray Train what its workers did.
    causes = [error, *(getattr(failure, "_base_exc", failure) for failure in _workers_failures(error))]
    return next((cause for cause in map(unwrap, causes) if isinstance(cause, ClusterError)), None)


def _workers_failures(error: BaseException) -> list[BaseException]:
    return list(getattr(error, "worker_failures", {}).values())


def last_line(error: BaseException) -> str:
    """Return the last line of the innermost error: what went wrong, without the frames."""
    cause = unwrap(error)
    while cause.__cause__ is not None and cause.__cause__ is not cause:
        cause = unwrap(cause.__cause__)
    lines = [line for line in str(cause).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(cause).__name__
