"""Arguments and options that the commands share, and parsing of ``--set``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from gansvc.errors import SpecError
from gansvc.spec import jobfile

File = Annotated[Path, typer.Argument(metavar="FILE", help="Job file (YAML); - reads standard input.")]
Cluster = Annotated[
    str | None,
    typer.Option(
        help="local, http(s)://HOST:8265, k8s[://CONTEXT/NAMESPACE] or a profile; else GANSVC_CLUSTER or the profile's."
    ),
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="The model/ folder of a job.")]
JobName = Annotated[
    str | None,
    typer.Argument(metavar="JOB", help="Id of a job, its unique beginning, or a job folder; else the newest."),
]
Storage = Annotated[
    str | None, typer.Option(help="Folder or URI of all jobs; else GANSVC_STORAGE, the profile's or ~/gansvc-jobs.")
]
OneClass = Annotated[
    str | None, typer.Option("--class", metavar="CLASS", help="Name or number of the one class to draw.")
]
Elsewhere = Annotated[
    str | None, typer.Option("--cluster", help="k8s[://CONTEXT/NAMESPACE] also lists what others sent there.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Values = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Set a field, as training.epochs=10; repeatable."),
]


def parse_values(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Return the values of ``--set PATH=VALUE``, by path.

    Raises:
        SpecError: a pair has no path or no value, or the value isn't YAML.
    """
    values = {}
    for pair in pairs or ():
        path, equals, text = pair.partition("=")
        if not (path and equals):
            raise SpecError(f"--set: {pair!r} is no PATH=VALUE; write it as --set training.epochs=10")
        try:
            values[path] = jobfile.parse_value(text)
        except SpecError as error:
            raise SpecError(f"--set {path}: {error}") from None
    return values
