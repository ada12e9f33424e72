"""The local cluster: one Ray head on the loopback interface, started when a job needs it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gansvc.client import configfile, head
from gansvc.client.head import Cluster as Cluster
from gansvc.errors import ClusterError
from gansvc.files import homefolder
from gansvc.files.localfiles import LocalFiles

_RECORD, _TOKEN = "cluster.json", "auth_token"
_LARGEST = 2**30
"""Bytes of a driver's log at most."""
_LOGS = "ray/session_*/logs"


def home() -> Path:
    """Return the folder of the local cluster's state: GANSVC_HOME, or ``~/.gansvc``.

    Raises:
        SpecError: the home folder isn't known.
    """
    return homefolder.expand(os.environ.get("GANSVC_HOME") or "~/.gansvc").absolute()


def known_cluster(folder: Path | None = None) -> Cluster | None:
    """Return the cluster that a home folder tells of, running or not, or None.

    Where its record is lost or damaged, the cluster is found by its processes.
    """
    return _read(folder or home()) or head.find(folder or home())


def token(folder: Path | None = None) -> str | None:
    """Return the token of the cluster of a home folder, or None if there is none to read."""
    return _text(folder or home(), _TOKEN).strip() or None


def running() -> Cluster | None:
    """Return the local cluster if its head runs and its Jobs API answers, else None."""
    cluster = known_cluster()
    return cluster if cluster and cluster.alive() and head.answers(cluster.dashboard, token()) else None


def start(say: Callable[[str], None]) -> Cluster:
    """Return the running local cluster, starting one first where there is none.

    Args:
        say: gets a sentence on what takes a while.

    Raises:
        ClusterError: Ray doesn't start, its files can't be written, or a cluster runs and doesn't answer.
        SpecError: the config file is damaged, or the home folder isn't known.
    """
    with _lock():
        cluster = known_cluster()
        if cluster and cluster.alive():
            if not head.answers(cluster.dashboard, token()):
                raise ClusterError(
                    f"the local cluster (process {cluster.pid}) doesn't answer at {cluster.dashboard}; "
                    "end it with `gansvc down` and submit again"
                )
            if _read(home()) is None:
                _save_record(cluster)
            return cluster
        if cluster:
            _end(cluster)
        say("starting Ray on this machine")
        try:
            _write_private(_TOKEN, secrets.token_hex(32))
            return head.start(home(), configfile.read().environment, _save_record)
        except BaseException:
            with suppress(OSError):  # of a folder that can't be written nothing can be taken away either
                _delete_records()
            raise


def down() -> int:
    """End the local cluster and return how many processes that took; 0 if there was none.

    Only processes that the cluster started are ended. The drivers' logs are kept in the home folder.

    Raises:
        ClusterError: the logs can't be kept.
    """
    if known_cluster() is None:  # nor a folder to lock, perhaps
        return 0
    count, ended = 0, set()
    with _lock():
        # One whose record was lost may be left beside the one that came after it.
        while (cluster := known_cluster()) and cluster.mark not in ended:
            ended.add(cluster.mark)
            count += _end(cluster)
    return count


def kept_log(driver: str, folder: Path | None = None) -> str | None:
    """Return the log of a driver whose cluster has ended, as it was kept, or as it lies there still; or None."""
    name, cluster = f"job-driver-{driver}.log", known_cluster(folder)
    left = [path.parent for path in Path(cluster.temp).glob(f"{_LOGS}/{name}")] if cluster else []
    return next((text for place in ((folder or home()) / "logs", *left) if (text := _text(place, name))), None)


def _end(cluster: Cluster) -> int:
    """End a cluster's processes, keep its drivers' logs and forget it; return the number of processes."""
    count = cluster.end()
    logs = home() / "logs"
    with head.explain_write_errors(
        logs, "its drivers' logs can't be kept: free space there and run `gansvc down` again"
    ):
        for log in Path(cluster.temp).glob(f"{_LOGS}/job-driver-*.log"):
            logs.mkdir(exist_ok=True)
            shutil.copyfile(log, logs / log.name)
        _delete_records()
    cluster.clear()
    return count


def _read(folder: Path) -> Cluster | None:
    try:
        return Cluster.model_validate_json(_text(folder, _RECORD))
    except ValueError:  # a ValidationError is one
        return None


def _text(folder: Path, name: str) -> str:
    """Return a file of a home folder, empty if none is to be read: a stranger's job may name any folder as that."""
    try:
        return LocalFiles(str(folder)).read(name, _LARGEST).decode(errors="replace")
    except (OSError, ClusterError):
        return ""


def _save_record(cluster: Cluster) -> None:
    _write_private(_RECORD, cluster.model_dump_json(indent=2))


def _delete_records() -> None:
    for name in (_RECORD, _TOKEN):
        (home() / name).unlink(missing_ok=True)


def _write_private(name: str, text: str) -> None:
    """Replace a file of the home folder whole; its owner alone may read it."""
    part = home() / f".{name}.{secrets.token_hex(4)}"
    with head.explain_write_errors(home() / name):
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
            part.replace(home() / name)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _lock() -> Iterator[None]:
    """Make the home folder, and keep other gansvc commands from starting or ending the cluster meanwhile."""
    import fcntl

    with head.explain_write_errors(home()):
        home().mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (home() / "lock").open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
