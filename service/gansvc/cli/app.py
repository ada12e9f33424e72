"""The command line: parse, one api call, print. Results go to stdout, progress and warnings to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from gansvc import api
from gansvc.cli import following, live, preparing, scoretables
from gansvc.cli.options import AsJson, Cluster, Elsewhere, File, JobName, Model, OneClass, Storage, Values, parse_values
from gansvc.cli.output import as_json as _json
from gansvc.cli.output import configure_streams, fail, show
from gansvc.cli.output import out as _out
from gansvc.cli.output import say as _say
from gansvc.errors import GansvcError, SpecError
from gansvc.spec import jobfile

app = typer.Typer(
    name="gansvc",
    help="Which GAN loss makes the best images of a small medical data set, and how sure are we?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 the job failed, 2 your input, 3 the cluster, the network or the storage, "
    "4 done in part: the report is there, but a run has no score.",
)
app.add_typer(following.app)
app.add_typer(preparing.app)

MAX_DIFFERENCES = 10
"""Differences between jobs that are shown."""


def main(args: Sequence[str] | None = None) -> None:
    """Run a command line and exit with its code; an error is one sentence on stderr."""
    configure_streams()
    try:
        if any("\0" in word for word in args or ()):
            raise SpecError("an argument holds a zero byte; leave it out")
        app(args, prog_name="gansvc")
    except GansvcError as error:
        for sentence in str(error).split("\n"):
            fail(sentence)
        sys.exit(error.exit_code)
    except OSError as error:
        fail(f"{error}; check the path and the machine")
        sys.exit(3)


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        show(f"gansvc {api.version()}")
        raise typer.Exit


@app.command()
def validate(file: File, values: Values = None, as_json: AsJson = False) -> None:
    """Check a job file and say what is wrong with it; start nothing."""
    spec = api.validate(file, parse_values(values))
    show(_json({"valid": True, "spec": spec.model_dump(mode="json")}) if as_json else f"{file}: valid")


@app.command()
def schema(of_report: Annotated[bool, typer.Option("--report", help="That of report.json.")] = False) -> None:
    """Print the JSON Schema of a job file, for editors, or of report.json."""
    show(_json(api.schema("report" if of_report else "job")))


@app.command()
def init(
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="File to write; - prints it.")] = "job.yaml",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a commented job file to begin with."""
    show(jobfile.starter() if file == "-" else jobfile.init(Path(file), force), end="" if file == "-" else "\n")


@app.command()
def submit(
    file: File,
    cluster: Cluster = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be sent, and the plan.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Don't follow the job.")] = False,
    values: Values = None,
    name: Annotated[str | None, typer.Option(help="Name of the job, in place of the file's.")] = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Run a job: search, train, score, report. Starts Ray on this machine if the cluster is local and none runs."""
    spec = api.validate(file, parse_values(values) | ({} if name is None else {"name": name}))
    plan = api.plan(spec)
    if dry_run:
        sent = api.manifest(spec, cluster, storage)
        data = {"manifest": sent} if sent else {"spec": spec.model_dump(mode="json")}
        lines = [f"# {title}: {value}" for title, value in plan.rows()]
        text = jobfile.dump_plain(sent) if sent else jobfile.dump(spec)
        show(_json(data | {"plan": plan.model_dump(mode="json")}) if as_json else "\n".join([text, *lines]))
        return
    for title, value in plan.rows():
        _say(f"{title}: {value}")
    job = api.submit(spec, cluster, storage, _say)
    _say(f"job {job.id}")
    if not detach:
        following.follow(job, as_json)
    else:
        show(_json(job.model_dump()) if as_json else job.id)


@app.command("list")
def list_jobs(cluster: Elsewhere = None, storage: Storage = None, as_json: AsJson = False) -> None:
    """List the jobs, newest first."""
    statuses = api.jobs(storage, cluster)
    if as_json:
        show(_json([json.loads(status.model_dump_json()) for status in statuses]))
    elif statuses:
        console = _out()
        console.print(live.job_table(statuses, console.width))
    else:
        _say("no jobs yet; `gansvc init` writes a job file to begin with")


@app.command()
def status(job: JobName = None, storage: Storage = None, as_json: AsJson = False) -> None:
    """Show where a job stands."""
    now = api.status(job, storage)
    if as_json:
        show(_json(now))
    else:
        _out().print(live.view(now))


@app.command()
def stop(job: JobName = None, storage: Storage = None) -> None:
    """Stop a job and wait until it has ended."""
    ended = api.stop(job, storage)
    show(f"{ended.job}: {ended.phase}")


@app.command()
def report(
    job: JobName = None,
    form: Annotated[Literal["md", "html", "json"], typer.Option("--format", help="Markdown, page or data.")] = "md",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File to write; its path is printed.")] = None,
    storage: Storage = None,
) -> None:
    """Print a job's report; of the page, print where it is."""
    text = _json(api.report(job, "json", storage)) if form == "json" else api.report(job, form, storage)
    if out is not None:
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise SpecError(f"--out: {out} can't be written ({error.strerror}); give another path") from None
    show(out or (api.results(job, storage)["page"] if form == "html" else text))


@app.command()
def pull(
    job: JobName = None,
    to: Annotated[Path | None, typer.Argument(metavar="TO", help="Folder; ./JOB-ID if left out.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Trials, checkpoints and histories too.")] = False,
    storage: Storage = None,
) -> None:
    """Copy a job's report, model and scores to a local folder."""
    show(api.pull(job, to, everything, storage, _say))


@app.command()
def sample(
    folder: Model,
    count: Annotated[int, typer.Option("-n", help="Number of images.")] = 64,
    out: Annotated[
        str, typer.Option("-o", help="Grid to write, .png, .jpg or .webp; or a folder, for single images.")
    ] = "samples.png",
    seed: Annotated[int, typer.Option(help="Seed of the latents.")] = 0,
    of: OneClass = None,
) -> None:
    """Draw images from a model folder, as a grid or one by one."""
    show(api.sample(folder, count, out, seed, of))


@app.command()
def compare(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB JOB...", help="Two jobs or more.")],
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Put several jobs' losses on one leaderboard, if their scores compare."""
    merged = api.compare(jobs, storage)
    if as_json:
        show(_json(merged))
        return
    _out().print(scoretables.leaderboard(merged))
    if merged.unknown:
        _say(f"whether the scores were made alike isn't known: an older report lacks {', '.join(merged.unknown)}")
    for difference in merged.differences[:MAX_DIFFERENCES]:
        _say(f"the jobs were not given the same {difference}")
    if left := len(merged.differences[MAX_DIFFERENCES:]):
        _say(f"and {left} more; --json has them all")


@app.command()
def evaluate(
    folder: Model,
    dataset: Annotated[
        str | None, typer.Option(help="Data set as in a job file, as retinamnist or {name: npz, path: F}.")
    ] = None,
    values: Values = None,
    as_json: AsJson = False,
) -> None:
    """Score a model folder again, beside the score on its card."""
    found = api.evaluate(folder, None if dataset is None else jobfile.parse_value(dataset), parse_values(values))
    if as_json:
        show(_json(found))
        return
    _out().print(scoretables.rescored(found))
    if found.card and found.differences:
        unlike = found.card.contract.unlike(found.score.contract)
        _say(f"the two don't compare: their contracts differ in {', '.join(unlike)}")
    if found.unknown:
        _say(f"whether the two were made alike isn't known: the older card lacks {', '.join(found.unknown)}")


@app.command()
def down() -> None:
    """End the Ray that gansvc started on this machine, and nothing else."""
    count = api.down()
    show(f"ended the local cluster ({count} processes)" if count else "no local cluster runs")


@app.command()
def version() -> None:
    """Print the version."""
    show(f"gansvc {api.version()}")
