"""Ray's Jobs API: submit a driver, see how it is, read its log, stop it; every failure becomes one sentence."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gansvc.errors import ClusterError
from gansvc.files import patience
from gansvc.store.driverstate import ENDED, Driver, State, last_sentence

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient


@dataclass(frozen=True)
class Target:
    """A cluster's Jobs API."""

    url: str
    token: str | None = field(default=None, repr=False)
    ca_file: str = ""
    """Certificates that its https is checked by; requests' own, or REQUESTS_CA_BUNDLE's, where it is empty."""

    def is_loopback(self) -> bool:
        """Return whether it is on this machine."""
        return urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")

    def is_private(self) -> bool:
        """Return whether nobody between here and there can read what is sent."""
        return self.is_loopback() or self.url.startswith("https://")


def check(target: Target) -> str:
    """Make sure that the Jobs API answers, and return the version of its Ray.

    Raises:
        ClusterError: it doesn't, or it refuses the token or isn't whom its certificate names.
    """
    with _explain_errors(target):
        return str(_client(target)._do_request("GET", "/api/version").json()["ray_version"])


def submit(target: Target, job: str, entrypoint: str, metadata: dict[str, str]) -> None:
    """Start a driver under the job's id.

    Raises:
        ClusterError: the cluster can't be reached or refuses.
    """
    with _explain_errors(target):
        _client(target).submit_job(entrypoint=entrypoint, submission_id=job, metadata=metadata)


def find_driver(target: Target, job: str) -> Driver | None:
    """Return how a job's driver is, or None if the cluster doesn't know the job.

    Raises:
        ClusterError: the cluster can't be reached or refuses.
    """
    with _explain_errors(target):
        return _driver(_client(target), job)


def driver_state(target: Target, job: str) -> State | None:
    """Return the state of a job's driver, or None if it is unknown or the cluster can't be reached."""
    try:
        driver = find_driver(target, job)
    except ClusterError:
        return None
    return driver.state if driver else None


def logs(target: Target, job: str, follow: bool = False) -> Iterator[str]:
    """Yield what a driver wrote, in pieces; when following, until the driver has ended.

    Raises:
        ClusterError: the cluster doesn't know the job, can't be reached, or stays away for a minute while followed.
    """
    seen, lost = 0, None
    while True:
        try:
            ended, text = _read(target, job)
            lost = None
        except ClusterError:
            lost = lost or time.monotonic()
            if not follow or time.monotonic() - lost > patience.CLUSTER:
                raise
            time.sleep(2)
            continue
        if len(text) > seen:
            yield text[seen:]
            seen = len(text)
        if ended or not follow:
            return
        # The interface always sends the whole log, so a long one is asked for less often.
        time.sleep(max(1.0, seen / 1_000_000))


def stop(target: Target, job: str, seconds: float = patience.STOP) -> Driver | None:
    """Stop a job's driver, wait until it has ended, and return how it ended; None if the cluster doesn't know it.

    Raises:
        ClusterError: the cluster can't be reached, or the driver still runs after so many seconds.
    """
    with _explain_errors(target):
        client, deadline = _client(target), time.monotonic() + seconds
        driver = _driver(client, job)
        if driver and driver.state not in ENDED:
            client.stop_job(job)
        while driver and driver.state not in ENDED:
            if time.monotonic() > deadline:
                raise ClusterError(f"{job} still runs {seconds:.0f} s after it was told to stop; try again")
            time.sleep(0.5)
            driver = _driver(client, job)
        return driver


def delete_driver(target: Target, job: str) -> None:
    """Take a driver that has ended off the cluster's list.

    Raises:
        ClusterError: the cluster can't be reached or refuses.
    """
    with _explain_errors(target):
        _client(target).delete_job(job)


def _read(target: Target, job: str) -> tuple[bool, str]:
    """Return whether the driver has ended, asked before its log is read so that nothing is missed, and the log."""
    with _explain_errors(target):
        client = _client(target)
        driver = _driver(client, job)
        if driver is None:
            raise ClusterError(f"the cluster at {target.url} doesn't know the job {job}; it was started anew since")
        return driver.state in ENDED, str(client.get_job_logs(job))


def _driver(client: JobSubmissionClient, job: str) -> Driver | None:
    try:
        details = client.get_job_info(job)
    except RuntimeError as error:
        if "status code 404" in str(error):
            return None
        raise
    found = Driver(details.status.value, details.message or "", _pid(details))
    # Ray goes on to call a driver running whose node is lost, as when the kernel ends one of the node's agents.
    if found.state not in ENDED and details.driver_node_id and (lost := _node_loss(client, details.driver_node_id)):
        return Driver("FAILED", f"Ray lost the node that it ran on: {lost}")
    return found


def _pid(details: JobDetails) -> int | None:
    text = details.driver_info.pid if details.driver_info else ""
    return int(text) if text.isdecimal() else None


def has_lost_all_nodes(target: Target) -> bool:
    """Return whether all nodes of a cluster are dead, as Ray says: it takes jobs and never begins them.

    Raises:
        ClusterError: the cluster can't be reached or refuses.
    """
    with _explain_errors(target):
        # An answer without nodes says nothing of them: a cluster isn't ended for that.
        found = _nodes(_client(target))
        return bool(found) and all(node.get("state") == "DEAD" for node in found)


def _node_loss(client: JobSubmissionClient, node: str) -> str:
    """Return why a node of the cluster is dead, as Ray says; empty if it isn't, or if nothing is known of it."""
    found = _nodes(client, filter_keys="node_id", filter_predicates="=", filter_values=node)
    return next((one.get("state_message") or "it is dead" for one in found if one.get("state") == "DEAD"), "")


def _nodes(client: JobSubmissionClient, **only: str) -> list[dict[str, Any]]:
    """Return a cluster's nodes as its dashboard knows them; none if it doesn't say."""
    reply = client._do_request("GET", "/api/v0/nodes", params={"detail": "true", **only})
    data = (reply.json().get("data") or {}) if reply.status_code == 200 else {}
    return (data.get("result") or {}).get("result") or []


def _client(target: Target) -> JobSubmissionClient:
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):  # type: ignore[misc]
        """Ray's client, which never waits without end and reaches this machine without a proxy."""

        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            options.setdefault("timeout", (10, 60))
            if target.is_loopback():
                options.setdefault("proxies", {"http": "", "https": ""})
            return super()._do_request(method, endpoint, **options)

    headers = {"Authorization": f"Bearer {target.token}"} if target.token else None
    # Ray lets these variables win over the address that it is given.
    kept = {name: os.environ.pop(name) for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS") if name in os.environ}
    try:
        return Client(target.url, headers=headers, verify=target.ca_file or True)
    finally:
        os.environ.update(kept)


@contextmanager
def _explain_errors(target: Target) -> Iterator[None]:
    """Turn what Ray's client may raise into a sentence."""
    from ray.exceptions import AuthenticationError
    from requests.exceptions import RequestException

    try:
        yield
    except AuthenticationError:
        raise ClusterError(
            f"the cluster at {target.url} refuses the token; set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to its own"
        ) from None
    except (RequestException, OSError) as error:
        if _is_untrusted(error):
            raise ClusterError(
                f"the certificate of {target.url} isn't trusted here; name its authority's PEM file as ca_file of a "
                "profile (`gansvc config NAME.ca_file FILE`), or in REQUESTS_CA_BUNDLE"
            ) from None
        reason = type(error).__name__
        raise ClusterError(
            f"the cluster at {target.url} can't be reached ({reason}); check that it is up, and the address"
        ) from None
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        reason = last_sentence(str(error)) or type(error).__name__
        raise ClusterError(f"the cluster at {target.url} refuses ({reason}); see its dashboard") from None


def _is_untrusted(error: BaseException | None) -> bool:
    """Return whether a certificate that wasn't trusted is behind an error; Ray's client raises another one instead."""
    from requests.exceptions import SSLError

    while error is not None and not (isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)):
        error = error.__cause__ or error.__context__
    return error is not None
