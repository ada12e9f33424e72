"""What decides the results of a job or a run, and in which fields two of them differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from gansvc.errors import SpecError
from gansvc.schema.bounded import Plain, Table, Text
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import Record

"""File of the identity in a job folder."""
_DIGITS = 12
"""Digits of a hash that a message shows."""
_ABSENT = "nothing"
_DEPTH = 4
"""Levels of nested fields that are told apart."""


class JobIdentity(Record):
    """What decides a job's results (identity.json); every start of the job is compared with it.

    Left out is what only says where things lie or run, and which losses and seeds there are: a job that is resumed with
    one more of them still has the others.
    """

    data: Table[Text] = Field(default_factory=dict)
    """Hashes of the data set's content and of the extractor's weights; empty where only the spec is known."""
    dataset: Plain
    network: Plain
    losses: Table[Plain]
    """Label of each loss to its fields."""
    training: Plain
    evaluation: Plain
    search: Plain | None


def of_job(spec: JobSpec, data: Mapping[str, str] | None = None) -> JobIdentity:
    """Return the identity of a job; ``data`` are the hashes of its content."""
    return JobIdentity(
        data=dict(data or {}),
        dataset=spec.dataset.model_dump(mode="json", exclude={"root", "path"}),
        network=spec.network.model_dump(mode="json"),
        losses={loss.label: loss.model_dump(mode="json") for loss in spec.losses},
        training=spec.training.model_dump(mode="json", exclude={"workers", "seeds", "max_restarts"}),
        evaluation=spec.evaluation.model_dump(mode="json", exclude={"extractor": {"weights"}, "audit": True}),
        search=spec.search.model_dump(mode="json", exclude={"workers"}) if spec.search else None,
    )


def hold(folder: Folder, ours: JobIdentity) -> None:
    """Make sure that a job goes on as it began, and keep its identity with its first start.

    Raises:
        SpecError: an earlier start had another identity; the message lists the differences.
        ClusterError: the storage fails, or identity.json is damaged.
    """
    theirs = refuse_another(folder, ours)
    losses = {**(theirs.losses if theirs else {}), **ours.losses}
    if (kept := ours.model_copy(update={"losses": losses})) != theirs:
        folder.write_record(layout.IDENTITY, kept)


def refuse_another(folder: Folder, ours: JobIdentity) -> JobIdentity | None:
    """Return the identity that a job's earlier starts had, or None before the first one.

    Raises:
        SpecError: it isn't this one; the message lists the differences. Data that isn't known isn't compared.
        ClusterError: the storage fails, or identity.json is damaged.
    """
    theirs = folder.read_record(layout.IDENTITY, JobIdentity)
    if theirs is None:
        return None
    unknown = set() if ours.data else {"data"}
    if found := differences(theirs.model_dump(exclude=unknown), ours.model_dump(exclude=unknown)):
        of_data = [line for line in found if line.startswith("data.")]
        kinds = [*(["other data"] if of_data else []), *(["another spec"] if len(of_data) < len(found) else [])]
        raise SpecError(
            f"JOB: {folder.uri} was begun with {' and '.join(kinds)} ({'; '.join(found)}); put that back and resume, "
            "or start anew: `gansvc submit` with its job.yaml makes a new job"
        )
    return theirs


def of_validation(spec: JobSpec) -> dict[str, Any]:
    """Return what of a spec decides the validation scores, and so which checkpoint of a run is its best one."""
    evaluation = spec.evaluation
    return {
        "objective": spec.objective,
        "extractor": evaluation.extractor.model_dump(mode="json", exclude={"weights"}),
        "samples": evaluation.validation_samples,
        "seed": evaluation.seed,
    }


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Return the fields in which a record differs from what is asked for now, as ``training.epochs: 1 there, 3 here``.

    Losses that only one of two jobs has are no difference.
    """
    there, here = (dict(_fields(_plain(side))) for side in (theirs, ours))
    shared = set(theirs.get("losses", ())) & set(ours.get("losses", ()))
    found = []
    for path in dict.fromkeys([*there, *here]):
        section, _, rest = path.partition(".")
        if section == "losses" and rest.partition(".")[0] not in shared:
            continue
        if there.get(path, _ABSENT) != here.get(path, _ABSENT):
            found.append(f"{path}: {_shown(there.get(path, _ABSENT))} there, {_shown(here.get(path, _ABSENT))} here")
    return found


def _plain(identity: Mapping[str, Any]) -> Any:
    """Return an identity as JSON gives it back: with lists in place of tuples."""
    return json.loads(json.dumps(identity))


def _fields(value: Any, path: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, Any]]:
    """Yield the dotted paths and values of nested mappings; a forged record may be nested without end."""
    if isinstance(value, Mapping) and value and depth:
        for name, inner in value.items():
            yield from _fields(inner, f"{path}.{name}" if path else name, depth - 1)
    else:
        yield path, value


def _shown(value: Any) -> str:
    if value == _ABSENT:
        return _ABSENT
    text = value if isinstance(value, str) else json.dumps(value)
    is_hash = len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)
    return text[:_DIGITS] if is_hash else text if len(text) <= 60 else f"{text[:57]}..."
