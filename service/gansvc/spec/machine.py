"""What this machine is like and has at hand for a job, and fetching a job's files to it; without Ray."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from gansvc.catalog import downloads
from gansvc.errors import ClusterError, GansvcError
from gansvc.files import cachefolder
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.inspection import NodeState

TRAINING = ("torch", "torchvision", "torch_fidelity", "medmnist", "timm", "skimage", "safetensors")
"""Modules that only the train extra installs and that a job needs."""


def require(modules: Iterable[str], what: str) -> None:
    """Make sure that modules of the train extra are installed here.

    Raises:
        ClusterError: one isn't.
    """
    absent = [name for name in modules if not _is_installed(name)]
    if absent:
        raise ClusterError(f"{what} needs {', '.join(absent)}, not installed here; pip install 'gansvc[train]'")


def inspect_node(storage: str, sign: str, spec: JobSpec | None) -> NodeState:
    """Look at the machine that this runs on.

    Args:
        storage: folder or URI of all jobs.
        sign: file in it that another node wrote, or nothing.
        spec: the job that is to run, if there is one.
    """
    return NodeState(
        gansvc=version("gansvc"),
        ray=version("ray"),
        torch=_version("torch"),
        storage=_storage_problem(storage, sign),
        cache=cachefolder.problem(),
        dataset=(spec.dataset.missing() or "") if spec else "",
        weights=(spec.evaluation.extractor.missing() or "") if spec else "",
    )


def fetched_files(spec: JobSpec) -> dict[str, Path]:
    """Return the files that a job may have to fetch, under their names, with their places on this machine."""
    paths = list(spec.dataset.files())
    if spec.evaluation.extractor.downloads:
        paths.append(spec.evaluation.extractor.weights_file())
    return {path.name: path for path in paths}


def fetch(spec: JobSpec, mirror: str = "") -> dict[str, str]:
    """Fetch the files of a job that this machine lacks, and return what became of each, by name.

    Args:
        spec: the job.
        mirror: where they come from, in place of the internet.

    Raises:
        SpecError: a file is missing and comes from no address.
        ClusterError: a download failed.
    """
    before = {name for name, path in fetched_files(spec).items() if path.is_file()}
    with downloads.from_mirror(mirror):
        if spec.dataset.missing() or spec.dataset.files():
            spec.dataset.entry.read(spec.dataset)  # its digest is compared, too
        spec.evaluation.extractor.at_hand()
    return {
        name: f"{'found at' if name in before else 'fetched to'} {path}" for name, path in fetched_files(spec).items()
    }


def _storage_problem(storage: str, sign: str) -> str:
    mine = f".doctor-{uuid.uuid4().hex[:12]}"
    try:
        folder = Folder(storage, follow=True)
        folder.write(mine, mine)
        try:
            if folder.read(mine) != mine.encode():
                return f"storage: {folder.path(mine)} was written and reads otherwise; check the folder"
            if sign and folder.read(sign) != sign.encode():
                return (
                    f"storage: {storage} isn't the same folder on all nodes; mount one folder on all of them at that "
                    "path, or give an s3:// URI"
                )
        finally:
            folder.delete(mine)
    except (GansvcError, OSError) as error:
        return str(error)
    return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False
