"""What the doctor finds: the lines of its table, and what each node of a cluster answers it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field

from gansvc.schema.bounded import Some, Table, Text, Texts
from gansvc.store.records import Record

ANSWER = "gansvc-visit: "
"""What the line of a cluster's answer begins with, in the log of ``gansvc.cluster.visit``."""


class Check(NamedTuple):
    """One line of the doctor's table."""

    name: str
    state: Literal["ok", "note", "fault"]
    found: str
    mend: str = ""
    """What to do, where there is something to do."""


class NodeState(Record):
    """What the doctor found on one node; what is empty is well."""

    node: str = ""
    problem: str = ""
    """Why the node couldn't be looked at."""
    cpus: float = 0
    gpus: float | None = None
    """None where only Ray could tell, and none runs."""
    gansvc: str = ""
    ray: str = ""
    torch: str = ""
    """Version; empty where it isn't installed."""
    storage: str = ""
    """Why the storage can't be used from there."""
    cache: str = ""
    """Why the cache can't be written there."""
    dataset: str = ""
    """Where the data set was looked for, and how to get it."""
    weights: str = ""
    """Where the extractor's weights were looked for, and how to get them."""


class NodeFiles(Record):
    """What prefetch did on one node."""

    node: str
    files: Table[Text] = Field(default_factory=dict)
    """File's name to what became of it."""
    problem: str = ""


class Answer(Record):
    """What was found, on every node."""

    nodes: Some[NodeState] = ()
    files: Some[NodeFiles] = ()
    """What was brought, where that was asked for."""
    warnings: Texts = ()
    error: str = ""
    """Why there is nothing else."""
    exit_code: int = 0

    def line(self) -> str:
        """Return the line of a log that holds it."""
        return f"{ANSWER}{self.model_dump_json()}"
