"""Commands that prepare for jobs: config, doctor, prefetch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from gansvc import api
from gansvc.cli.options import AsJson, Cluster, Storage, Values, parse_values
from gansvc.cli.output import as_json as _json
from gansvc.cli.output import out as _out
from gansvc.cli.output import say as _say
from gansvc.cli.output import show
from gansvc.client import configfile
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec

app = typer.Typer(rich_markup_mode=None)
_STYLE = {"ok": "green", "note": "yellow", "fault": "bold red"}


@app.command()
def config(
    key: Annotated[
        str | None,
        typer.Argument(metavar="[KEY]", help="NAME.cluster, .storage, .token_file, ...; profile; environment."),
    ] = None,
    value: Annotated[str | None, typer.Argument(metavar="[VALUE]", help="What to set; '' takes it out again.")] = None,
    cluster: Cluster = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Show where jobs go and where each value comes from, or set a value of a profile in the config file."""
    if key is not None and value is not None:
        show(configfile.change(key, value))
        return
    if key is not None:
        raise typer.BadParameter(f"{key!r} has no value; give KEY and VALUE, or neither", param_hint="VALUE")
    rows = api.settings(cluster, storage)
    if as_json:
        show(_json({name: {"value": row.value, "from": row.source} for name, row in rows.items()}))
        return
    table = Table("setting", "value", "from", box=None, header_style="bold")
    for name, row in rows.items():
        table.add_row(name, Text(row.value), Text(row.source))
    _out().print(table)


@app.command()
def doctor(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Job file that is to run there.")] = None,
    cluster: Cluster = None,
    storage: Storage = None,
    values: Values = None,
    as_json: AsJson = False,
) -> None:
    """Check this installation, the cluster and its nodes, and say how to mend what is wrong; exits 3 if anything is."""
    checks = api.check(None if file is None else _spec(str(file), values, storage), cluster, storage)
    if as_json:
        show(_json([check._asdict() for check in checks]))
    else:
        table = Table("check", "", "found", "how to mend it", box=None, header_style="bold")
        for check in checks:
            table.add_row(check.name, Text(check.state, style=_STYLE[check.state]), Text(check.found), Text(check.mend))
        _out().print(table)
    if any(check.state == "fault" for check in checks):
        raise typer.Exit(3)


@app.command()
def prefetch(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Job file, or a job.")],
    cluster: Cluster = None,
    mirror: Annotated[
        str, typer.Option("--from", help="Folder or address that the files come from, in place of the internet.")
    ] = "",
    storage: Storage = None,
    values: Values = None,
    as_json: AsJson = False,
) -> None:
    """Put a job's data set and the extractor's weights onto every node of the cluster."""
    found = api.prefetch(_spec(file, values, storage), cluster, mirror)
    if as_json:
        show(_json([node.model_dump(mode="json") for node in found]))
    for node in found if not as_json else ():
        for name, what in node.files.items():
            show(f"{node.node}: {name} {what}")
        if not node.files and not node.problem:
            show(f"{node.node}: this job needs no download")
    for node in found:
        if node.problem:
            _say(f"{node.node}: {node.problem}; see that gansvc is installed there, and its disk")
    if any(node.problem for node in found):
        raise typer.Exit(3)


def _spec(file: str, values: list[str] | None, storage: str | None) -> JobSpec:
    """Return the spec of a job file, or of a job of that name."""
    if file != "-" and not Path(file).exists() and "/" not in file and not file.endswith((".yaml", ".yml")):
        spec = jobfile.read_submitted(api.find(file, storage))
    else:
        spec = jobfile.load(file)
    return spec.with_values(parse_values(values)) if values else spec
