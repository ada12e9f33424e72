"""Set a value in a spec's plain data at a dotted path: ``losses.wgan-gp.critic_lr``."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from gansvc.catalog.datasets import AnyDataset
from gansvc.catalog.extractors import AnyExtractor
from gansvc.catalog.losses import AnyLoss
from gansvc.catalog.networks import AnyNetwork
from gansvc.catalog.regularizers import AnyRegularizer
from gansvc.errors import SpecError, did_you_mean

DEEPEST = 10
"""Sections above a field, at most."""
_SECTIONS: dict[str, TypeAdapter[Any]] = {
    "dataset": TypeAdapter(AnyDataset),
    "network": TypeAdapter(AnyNetwork),
    "losses.*": TypeAdapter(AnyLoss),
    "losses.*.regularizers.*": TypeAdapter(AnyRegularizer),
    "evaluation.extractor": TypeAdapter(AnyExtractor),
}
"""The sections that a table's name stands for; a star is any item of a list."""


def set_value(data: dict[str, Any], path: str, value: Any) -> None:
    """Set a value at a path; a list's item is named by its label, its index or its name, in that order.

    A section's new ``name`` takes the values with it that the old name brought: an extractor's usual size, a loss's
    paper defaults. The new name brings its own; what differs from them, such as a data set's root, stays.

    Raises:
        SpecError: the path leads nowhere.
    """
    *parents, last = path.split(".")
    if len(parents) > DEEPEST:
        raise SpecError(f"{path[:40]}...: no field lies {len(parents)} sections deep; give the dotted path of a field")
    node: Any = data
    for depth, part in enumerate(parents, start=1):
        if isinstance(node, dict):
            node.setdefault(part, {})
        key = _key(node, part, path)
        if isinstance(node[key], str) and _section(parents[:depth]):
            node[key] = {"name": node[key]}
        node = node[key]
    section = _section(parents)
    if section and last == "name" and isinstance(node, dict):
        _drop_name_defaults(node, section)
    node[_key(node, last, path)] = value


def _key(node: Any, part: str, path: str) -> str | int:
    if isinstance(node, dict):
        return part
    if not isinstance(node, list):
        raise SpecError(f"{path}: there is no {part!r} on that path; give the dotted path of a field")
    items = [{"name": item} if isinstance(item, str) else item for item in node]
    sections = [item if isinstance(item, dict) else {} for item in items]
    labels, names = ([item.get(field) for item in sections] for field in ("label", "name"))
    for keys in (labels, [str(index) for index in range(len(node))], names):
        if part in keys:
            return keys.index(part)
    known = [str(label or name or index) for index, (label, name) in enumerate(zip(labels, names, strict=True))]
    there = ", ".join(known) or "nothing, it is empty"
    raise SpecError(f"{path}: there is no {part!r} in that list; {did_you_mean(part, known)}known: {there}")


def _section(parents: list[str]) -> TypeAdapter[Any] | None:
    parts = ["*" if index % 2 and parents[0] == "losses" else part for index, part in enumerate(parents)]
    return _SECTIONS.get(".".join(parts))


def _drop_name_defaults(data: dict[str, Any], section: TypeAdapter[Any]) -> None:
    """Take out of a section what its name alone brings."""
    try:
        brought = section.validate_python({"name": data.get("name")}).model_dump(mode="json", exclude_none=True)
    except ValidationError:
        return  # a name that is nothing by itself, as npz, brings nothing
    for field in [field for field, value in brought.items() if field != "name" and data.get(field) == value]:
        del data[field]
