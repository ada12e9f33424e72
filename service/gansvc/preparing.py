"""The commands that prepare the ground for jobs: config."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from gansvc import config as settings
from gansvc.options import AsJson, Cluster, Storage
from gansvc.output import as_json as _json
from gansvc.output import out as _out

app = typer.Typer(rich_markup_mode=None)


@app.command()
def config(
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="NAME.cluster, .storage, .token_file or .ca_file; or profile.")
    ] = None,
    value: Annotated[str | None, typer.Argument(metavar="[VALUE]", help="What to set; '' takes it out again.")] = None,
    cluster: Cluster = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Show where jobs go and where each value comes from, or set a value of a profile in the config file."""
    if key is not None and value is not None:
        print(settings.change(key, value))
        return
    if key is not None:
        raise typer.BadParameter(f"{key!r} has no value; give KEY and VALUE, or neither", param_hint="VALUE")
    rows = settings.shown(cluster, storage)
    if as_json:
        print(_json({name: {"value": row.value, "from": row.source} for name, row in rows.items()}))
        return
    table = Table("setting", "value", "from", box=None, header_style="bold")
    for name, row in rows.items():
        table.add_row(name, Text(row.value), Text(row.source))
    _out().print(table)
