"""Find and end the processes that a local cluster started, and no others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import psutil

MARK = "GANSVC_CLUSTER_MARK"
"""Environment variable that every process of a local cluster inherits; its value names the cluster."""


def is_alive(pid: int, mark: str) -> bool:
    """Return whether the process of that id runs and carries a cluster's mark.

    An id alone may be given out again, and the time at which a process was created moves with the machine's clock.
    """
    try:
        process = psutil.Process(pid)
        return process.environ().get(MARK) == mark and _is_running(process)
    except psutil.Error:
        return False


def is_suspended(pid: int) -> bool:
    """Return whether a process stands still, as after SIGSTOP, until it gets SIGCONT."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def marked_processes() -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    """Yield this user's processes that carry a cluster's mark, each with its environment."""
    for process in psutil.process_iter():
        try:
            # To the administrator others' processes are readable too, and may say what they like.
            found = process.environ() if process.uids().effective == os.geteuid() else {}
        except psutil.Error:
            continue
        if MARK in found:
            yield process, found


def members(pid: int, mark: str) -> set[psutil.Process]:
    """Return the head of that id, what descends from it, and what it left behind: by its session or by the mark."""
    found: set[psutil.Process] = set()
    head_lives = is_alive(pid, mark)
    if head_lives:
        head = psutil.Process(pid)
        found |= {head, *head.children(recursive=True)}
    # A session's number isn't given out again while a member lives, unless a stranger now has the head's id.
    session = pid if head_lives or not psutil.pid_exists(pid) else None
    for process in psutil.process_iter():
        try:
            # Ray's workers overwrite their environment with their title, drivers lead sessions of their own.
            if (session and _session(process) == session) or process.environ().get(MARK) == mark:
                found.add(process)
        except psutil.Error:
            continue
    mine = psutil.Process()
    return {process for process in found - {mine, *mine.parents()} if _is_running(process)}


def end(pid: int, mark: str) -> int:
    """End a cluster's processes, asking first and insisting after; return how many there were."""
    processes = members(pid, mark)
    # Drivers lead sessions of their own and still write their last status; after that nothing of value is left, and
    # the head, which would wait long for its last workers, isn't given long.
    drivers, heads = {p for p in processes if _session(p) != pid}, {p for p in processes if p.pid == pid}
    for some, patience in ((drivers, 10), (heads, 5)):
        for process in some:
            _send(process, psutil.Process.terminate)
        _wait(some, patience)
    for stop in (psutil.Process.terminate, psutil.Process.kill):
        left = members(pid, mark) | {process for process in processes if _is_running(process)}
        for process in left:
            _send(process, stop)
        _wait(left, 2)
    # The head may be this process's own child, which stays a zombie until it is waited for.
    psutil.wait_procs(list(processes), timeout=1)
    return len(processes)


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:
        return None


def _wait(processes: set[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(_is_running(process) for process in processes):
        time.sleep(0.1)


def _is_running(process: psutil.Process) -> bool:
    try:
        # One that has ended and that its parent hasn't asked after is no more at work than one that is gone.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _send(process: psutil.Process, signal: Callable[[psutil.Process], None]) -> None:
    try:
        signal(process)
    except psutil.NoSuchProcess:
        return
