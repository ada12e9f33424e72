"""Identities of jobs and runs: all that decides their results, and how two of them differ."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from pydantic import Field

from gansvc.errors import SpecError
from gansvc.schema.bounded import Plain, Table, Text
from gansvc.spec.job import JobSpec
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import Record

BEFORE_THE_FIELD: dict[str, Any] = {
    "losses.*.regularizers": [],
    "loss.regularizers": [],
    "network.conditional": False,
    "network.critic_stem": 0,
}
"""What the product did before it had a field: the value that a stored identity without it means.

By the field's path in the identity of a job or of a run; * stands for a label. A new field of what decides a result
gets a row, or jobs that were begun before it are refused when they are resumed.
"""
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


def compare_and_keep(folder: Folder, ours: JobIdentity) -> tuple[str, ...]:
    """Make sure that a job goes on as it began, and keep its identity with its first start; return warnings.

    A hash of its content that the kept identity lacks is taken now.

    Raises:
        SpecError: an earlier start had another identity; the message lists the differences.
        ClusterError: the storage fails, or identity.json is damaged.
    """
    theirs = refuse_another(folder, ours)
    losses = {**(theirs.losses if theirs else {}), **ours.losses}
    if (kept := ours.model_copy(update={"losses": losses})) != theirs:
        folder.write_record(layout.IDENTITY, kept)
    taken = missing_hashes(theirs.data, ours.data) if theirs else {}
    return (missing_hashes_warning(layout.IDENTITY, taken),) if taken else ()


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
    there = theirs.model_copy(update={"data": theirs.data | missing_hashes(theirs.data, ours.data)})
    if found := differences(there.model_dump(exclude=unknown), ours.model_dump(exclude=unknown)):
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


def missing_hashes(theirs: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    """Return the hashes of content that an identity of now has and a stored one lacks: one by an earlier gansvc may."""
    return {name: digest for name, digest in ours.items() if name not in theirs}


def missing_hashes_warning(path: str, taken: Collection[str]) -> str:
    """Return the warning that a stored identity got hashes which it lacked."""
    return (
        f"{path} had no hash of {', '.join(taken)}, and has those of now from here on: whether that was the same "
        "before can't be told"
    )


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Return the fields in which a record differs from what is asked for now, as ``training.epochs: 1 there, 3 here``.

    A field that one of them lacks has the value of ``BEFORE_THE_FIELD``. Losses that only one of two jobs has are no
    difference.
    """
    there, here = (dict(_fields(_plain(side))) for side in (theirs, ours))
    shared = set(theirs.get("losses", ())) & set(ours.get("losses", ()))
    found = []
    for path in dict.fromkeys([*there, *here]):
        section, _, rest = path.partition(".")
        if section == "losses" and rest.partition(".")[0] not in shared:
            continue
        absent = next((value for pattern, value in BEFORE_THE_FIELD.items() if fnmatchcase(path, pattern)), _ABSENT)
        one, other = there.get(path, absent), here.get(path, absent)
        if one != other:
            found.append(f"{path}: {_shown(one)} there, {_shown(other)} here")
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
