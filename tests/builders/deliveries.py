"""Copies of job folders."""

from __future__ import annotations

from pathlib import Path

from gansvc.store.delivery import deliver
from gansvc.store.folder import Folder

OURS = "ours-20260101-000000-aaaa"


def copy(folder: Folder, target: Path, skip: tuple[str, ...] = (), job: str = OURS) -> None:
    with deliver(target, job) as delivery:
        delivery.copy(folder, skip)
