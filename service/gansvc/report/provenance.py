"""Versions of the software that wrote a report, and gansvc's commit."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

from gansvc.report.model import Versions


def current() -> Versions:
    """Return the versions in this process; the commit where gansvc runs from a checkout that git knows."""
    return Versions(
        python=platform.python_version(),
        gansvc=_version("gansvc"),
        commit=_commit(),
        torch=_version("torch"),
        ray=_version("ray"),
    )


def _commit() -> str | None:
    checkout = Path(__file__).parents[3]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
