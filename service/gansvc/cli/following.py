"""Commands that follow a job to its end: resume, logs, and submit once it has sent one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from gansvc import api
from gansvc.cli import live, scoretables
from gansvc.cli.options import AsJson, JobName, Storage
from gansvc.cli.output import as_json as _json
from gansvc.cli.output import err, fail, out, say, show
from gansvc.report.model import Report
from gansvc.store.jobfolder import Job
from gansvc.store.records import Status

PARTIAL = 4
"""Exit code of a job that left a report in which a run has no score."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""What Ray colours its lines with; in a terminal they would show as escapes, as all control characters do."""

_RAY_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+\s+INFO \w+\.py:\d+ -- |Running entrypoint for job ")
"""How the lines begin that Ray writes into a driver's log of itself; one of them holds the whole spec, packed."""

app = typer.Typer()


@app.command()
def resume(
    job: JobName = None,
    detach: Annotated[bool, typer.Option("--detach", help="Don't follow the job.")] = False,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a job that failed, was stopped, lost its driver or cluster, or is done in part."""
    found = api.find(job, storage)
    if not api.resume(found, say=say):
        say(f"{found.id} has SUCCEEDED; nothing to resume")
        if as_json:
            show(_json(_final_facts(found, api.status(found))))
        return
    say(f"job {found.id}")
    if not detach:
        follow(found, as_json)
    else:
        show(_json(found.model_dump()) if as_json else found.id)


@app.command()
def logs(
    job: JobName = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job has ended; exit as it.")] = False,
    attempt: Annotated[int | None, typer.Option(help="Of a job that was resumed: 1 is its first start.")] = None,
    storage: Storage = None,
) -> None:
    """Print what a job's driver wrote."""
    found = api.find(job, storage)
    try:
        for piece in without_ray_lines(api.logs(found, follow, attempt=attempt)):
            show(piece, end="")
        # The log may end before the job's last status is written.
        last = [*api.follow(found)][-1] if follow else None
    except KeyboardInterrupt:
        say("the job goes on")
        return
    if last is not None and _exit_code(last):
        raise typer.Exit(_exit_code(last))


def without_ray_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield a driver's log without Ray's colours and the lines that Ray writes of itself, whole line by whole line."""
    rest = ""
    for piece in pieces:
        *lines, rest = COLOURS.sub("", rest + piece).split("\n")
        if kept := "".join(f"{line}\n" for line in lines if not _RAY_LINE.match(line)):
            yield kept
    if rest and not _RAY_LINE.match(rest):
        yield rest


def follow(job: Job, as_json: bool) -> None:
    """Show a job until it has ended, print its leaderboard, and exit as it did."""
    try:
        last = live.watch(api.follow(job), err())
    except KeyboardInterrupt:
        say(f"the job goes on; come back with `gansvc status {job.id}` or `gansvc logs -f {job.id}`")
        say(f"`gansvc stop {job.id}` ends it")
        return
    if as_json:
        show(_json(_final_facts(job, last)))
    elif last.phase == "SUCCEEDED":
        out().print(scoretables.leaderboard(Report.model_validate(api.report(job, "json"))))
        for title, path in api.results(job).items():
            show(f"{title}: {path}")
    if last.phase != "SUCCEEDED":
        fail(f"{job.id} {last.phase}: {last.error or 'no reason given'}")
        say(f"`gansvc logs {job.id}` has its driver's log; `gansvc resume {job.id}` goes on with it")
    elif last.partial:
        say(f"done in part: {last.scores[0]} of {last.scores[1]} runs have a score")
        say(f"the report says why; `gansvc resume {job.id}` tries again what failed, not what diverged")
    if _exit_code(last):
        raise typer.Exit(_exit_code(last))


def _final_facts(job: Job, last: Status) -> dict[str, object]:
    ended = {"phase": last.phase, "error": last.error, "partial": last.partial}
    return {"id": job.id, "job": job.id, "folder": job.folder} | ended


def _exit_code(last: Status) -> int:
    if last.phase != "SUCCEEDED":
        return 1
    return PARTIAL if last.partial else 0
