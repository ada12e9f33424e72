"""What the command line, tests and notebooks call; it returns data and prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from gansvc.client import backend, config, doctor, lifecycle, listing, local, pulling
from gansvc.client import plan as planning
from gansvc.client.plan import Plan
from gansvc.errors import RunError
from gansvc.files import patience
from gansvc.gan.scoring import rescoring
from gansvc.gan.scoring.rescoring import Rescored
from gansvc.report import model
from gansvc.spec import jobfile, machine
from gansvc.spec.job import JobSpec
from gansvc.store import jobfolder, layout, submissions
from gansvc.store.folder import Folder
from gansvc.store.inspection import Check, NodeFiles
from gansvc.store.jobfolder import Job
from gansvc.store.records import Status
from gansvc.store.submissions import Setting

if TYPE_CHECKING:
    from gansvc.report.compare import Comparison


def version() -> str:
    """Return gansvc's version."""
    return package_version("gansvc")


def validate(path: Path | str, values: Mapping[str, Any] | None = None) -> JobSpec:
    """Read a job file, set values at dotted paths, and return the resolved spec.

    Raises:
        SpecError: the file can't be read or is no valid spec.
    """
    spec = jobfile.load(path)
    return spec.with_values(values) if values else spec


def schema(of: Literal["job", "report"] = "job") -> dict[str, Any]:
    """Return the JSON Schema of a job file, for editors, or of report.json, for the programs that read it."""
    return JobSpec.model_json_schema() if of == "job" else model.schema()


def plan(spec: JobSpec) -> Plan:
    """Return what a job will do and ask for.

    Raises:
        SpecError: the user's own data file is there and has another form, or its images can't be scored.
    """
    return planning.make(spec)


def manifest(spec: JobSpec, cluster: str | None, storage: str | None = None) -> dict[str, Any] | None:
    """Return the RayJob that a job would be sent as to Kubernetes, asking nobody; None for other clusters.

    Raises:
        SpecError: an address carries a secret, the operator would refuse the job, or it has no place to be kept.
    """
    to = config.destination(cluster, storage)
    return backend.choose(to.cluster.value).preview(spec, to)


def submit(
    spec: JobSpec,
    cluster: str | None = None,
    storage: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Job:
    """Send a job to a cluster and return it; ``local`` starts one on this machine where none runs.

    Args:
        spec: the job.
        cluster: ``local``, the address of a cluster's Jobs API, ``k8s://CONTEXT/NAMESPACE``, or a profile's name; if
            left out, GANSVC_CLUSTER, the profile in use, or ``local``.
        storage: folder or URI of all jobs; if left out, GANSVC_STORAGE, the profile's, or ``~/gansvc-jobs``.
        say: gets a sentence on what takes a while.

    Raises:
        SpecError: the job can't run there; nothing was started.
        ClusterError: the cluster doesn't start, can't be reached or refuses.
    """
    to = config.destination(cluster, storage)
    return backend.choose(to.cluster.value).submit(spec, to, say)


def resume(
    job: Job | str | None = None, storage: str | None = None, say: Callable[[str], None] = lambda text: None
) -> bool:
    """Send a job whose driver is gone once more, as ``lifecycle.resume`` says, and return whether it was sent."""
    return lifecycle.resume(find(job, storage), say)


def find(job: Job | str | None = None, storage: str | None = None) -> Job:
    """Return the job of that id, unique beginning of an id, or folder; the newest one without a name.

    Raises:
        SpecError: there is no such job, or several.
    """
    return job if isinstance(job, Job) else jobfolder.find(job, config.storage(storage).value)


def status(job: Job | str | None = None, storage: str | None = None) -> Status:
    """Return how a job stands; ten seconds after its driver is gone at most it is FAILED or STOPPED."""
    return lifecycle.status(find(job, storage), trusted=patience.FRESH)


def jobs(storage: str | None = None, cluster: str | None = None) -> list[Status]:
    """Return how all jobs of a storage stand, newest first; see ``listing.jobs``."""
    return listing.jobs(storage, cluster)


def follow(job: Job | str | None = None, storage: str | None = None) -> Iterator[Status]:
    """Yield a job's status every second; the last one is final."""
    return lifecycle.follow(find(job, storage))


def logs(
    job: Job | str | None = None, follow: bool = False, storage: str | None = None, attempt: int | None = None
) -> Iterator[str]:
    """Yield what a job's driver wrote, or an earlier attempt's, in pieces; see ``lifecycle.logs``."""
    return lifecycle.logs(find(job, storage), follow, attempt)


def stop(job: Job | str | None = None, storage: str | None = None) -> Status:
    """Stop a job, wait until its driver has ended, and return its last status; see ``lifecycle.stop``."""
    return lifecycle.stop(find(job, storage))


@overload
def report(job: Job | str | None = None, format: Literal["md", "html"] = "md", storage: str | None = None) -> str: ...


@overload
def report(job: Job | str | None, format: Literal["json"], storage: str | None = None) -> dict[str, Any]: ...


def report(
    job: Job | str | None = None, format: Literal["md", "html", "json"] = "md", storage: str | None = None
) -> str | dict[str, Any]:
    """Return a job's report, as Markdown, as one HTML page or as data.

    Raises:
        RunError: the job has no report.
    """
    found = find(job, storage)
    folder = Folder(found.folder)
    if where := submissions.last(found):
        backend.choose(where.cluster).fetch_report(found, where)
    if format == "json":
        if (data := model.read(folder)) is not None:
            return data.model_dump(mode="json")
    elif (text := (model.read_markdown if format == "md" else model.read_html)(folder)) is not None:
        return text
    now = status(found)
    if format == "html" and folder.exists(layout.REPORT_MARKDOWN):
        raise RunError(f"{found.id} has no report.html: an earlier gansvc wrote its report; read it with --format md")
    raise RunError(f"{found.id} has no report: it is {now.phase}{f' ({now.error})' if now.error else ''}")


def results(job: Job | str | None = None, storage: str | None = None) -> dict[str, str]:
    """Return the addresses of what a job left for people: its report, pictures and model, as far as they are there."""
    folder = Folder(find(job, storage).folder)
    return {title: folder.path(name) for title, name in layout.RESULTS.items() if folder.exists(name)}


def pull(
    job: Job | str | None = None,
    to: Path | None = None,
    everything: bool = False,
    storage: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Copy a job's report, model and scores to a local folder, or all its files, and return the folder.

    ``say`` gets a sentence where the job isn't done.

    Raises:
        SpecError: the folder can't take them: it is another job's, or holds files of those names that are no job's.
        ClusterError: the storage fails.
    """
    return pulling.pull(find(job, storage), to, everything, say)


def sample(model_folder: Path, n: int, out: Path | str, seed: int = 0, of: str | None = None) -> Path:
    """Draw ``n`` images from a pulled model folder alone, as one grid or into a folder; see ``sampling.sample``.

    ``of`` is the name or the number of the one class to draw.

    Raises:
        SpecError: the folder holds no model, a value is out of range, or ``out`` can't be written.
        ClusterError: torch isn't installed here.
    """
    machine.require(("torch", "torchvision", "safetensors"), "drawing samples")
    from gansvc.gan.artifact import drawing

    return drawing.sample(model_folder, n, out, seed, of)


def compare(jobs: Sequence[Job | str], storage: str | None = None) -> Comparison:
    """Return one leaderboard of several jobs' losses.

    Raises:
        SpecError: fewer than two jobs, or their contracts differ; the message names the fields.
        RunError: a job has no report.
    """
    # Late, because the bootstrap brings numpy along, and the command line's help is to come at once.
    from gansvc.report import compare as comparing

    found = [find(job, storage) for job in jobs]
    return comparing.merge([model.Report.model_validate(report(job, "json")) for job in found])


def evaluate(model_folder: Path, dataset: Any = None, values: Mapping[str, Any] | None = None) -> Rescored:
    """Score a pulled model folder again, on its own data set or another, and set its card's score beside it.

    Args:
        model_folder: the folder.
        dataset: a data set as a job file names it; the card's if left out.
        values: other fields by dotted path, as ``evaluation.samples``.

    Raises:
        SpecError: the folder holds no model, or a value doesn't fit.
        ClusterError: torch isn't installed here, or the data can't be fetched.
    """
    machine.require(("torch", "torchvision", "safetensors", "torch_fidelity"), "scoring a model")
    return rescoring.evaluate(model_folder, dataset, values)


def check(spec: JobSpec | None = None, cluster: str | None = None, storage: str | None = None) -> list[Check]:
    """Check this installation, the cluster that jobs go to and, for a job, its nodes; see ``doctor.check``."""
    return doctor.check(spec, cluster, storage)


def prefetch(spec: JobSpec, cluster: str | None = None, mirror: str = "") -> Sequence[NodeFiles]:
    """Bring a job's data set and weights to every node of a cluster; see ``doctor.prefetch``."""
    return doctor.prefetch(spec, cluster, mirror)


def settings(cluster: str | None = None, storage: str | None = None) -> dict[str, Setting]:
    """Return where jobs go and are kept, what opens the cluster, and where each value comes from."""
    to = config.destination(cluster, storage)
    return config.settings(to) | backend.choose(to.cluster.value).settings(to.cluster.value)


def down() -> int:
    """End the local cluster and return how many processes that took; 0 if none ran."""
    return local.down()
