"""What a search may draw from: distributions over a loss's fields, and the named spaces built of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from gansvc.catalog.losses import Loss
from gansvc.errors import did_you_mean, unknown_name
from gansvc.schema.explain import format_value, reason, refusal
from gansvc.schema.section import Section, Shorthand, check_name


def _plain_value(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise refusal(f"{format_value(value)} doesn't fit; it must be a number or a string")
    if isinstance(value, float) and not math.isfinite(value):
        raise refusal(f"{value!r} doesn't fit; it must be a finite number")
    return value


# Checked before the union: each of its members would report a misfit by itself.
Value = Annotated[int | float | str, BeforeValidator(_plain_value)]
Range = tuple[float, float]


class Distribution(Section):
    """One of: choice, uniform, log_uniform, int_uniform (both ends included)."""

    choice: Annotated[tuple[Value, ...], Field(min_length=1, max_length=100)] | None = None
    """Values drawn with equal chance."""
    uniform: Range | None = None
    """[low, high]: drawn evenly between them."""
    log_uniform: Range | None = None
    """[low, high], both above 0: the logarithm is drawn evenly."""
    int_uniform: tuple[int, int] | None = None
    """[low, high]: whole numbers, both ends included."""

    @model_validator(mode="after")
    def _one_kind_in_order(self) -> Distribution:
        given = self.model_dump(exclude_none=True)
        if len(given) != 1:
            raise refusal("give exactly one of choice, uniform, log_uniform, int_uniform")
        kind, values = given.popitem()
        if kind != "choice" and not values[0] < values[1]:
            raise refusal(f"{kind} must rise from low to high")
        if kind == "log_uniform" and values[0] <= 0:
            raise refusal("log_uniform needs both ends above 0")
        return self

    def extremes(self) -> tuple[Value, ...]:
        """Return the values that decide whether every draw is valid: all choices, or both ends of the range."""
        return self.choice or self.uniform or self.log_uniform or self.int_uniform or ()


LEARNING_RATES = {
    "generator_lr": Distribution(log_uniform=(1e-5, 1e-3)),
    "critic_lr": Distribution(log_uniform=(1e-5, 1e-3)),
}

SPACES: dict[str, dict[str, Distribution]] = {
    "default": {**LEARNING_RATES, "n_critic": Distribution(choice=(1, 2, 5))},
    "learning-rates": LEARNING_RATES,
}


def _named_space(value: Any) -> Any:
    if isinstance(value, str):
        space = SPACES[check_name(value, SPACES, "search space")]
        return {field: distribution.model_dump(exclude_none=True) for field, distribution in space.items()}
    if not isinstance(value, Mapping):
        raise refusal(
            f"{format_value(value)} doesn't fit; it must be a name or a mapping; known: {', '.join(sorted(SPACES))}"
        )
    for key in value:
        if not isinstance(key, str):
            raise refusal(f"{key!r} is no field of a loss; write the field's name, as critic_lr or wgan.clip")
    return value


Space = Annotated[Mapping[str, Distribution], Field(min_length=1), Shorthand(SPACES, _named_space)]
"""Path of a loss's field to its distribution, or the name of an entry of SPACES.

A path is a field as ``critic_lr``, or a regularizer's as ``regularizers.gradient-penalty.weight``; a label before it
searches it for that loss alone: ``lsgan.regularizers.gradient-penalty.weight``.
"""


def space_of(space: Mapping[str, Distribution], label: str, labels: Sequence[str]) -> dict[str, Distribution]:
    """Return what of a space concerns the loss of that label: the paths of its fields to their distributions."""
    keys = {key: _owner_and_path(key, labels) for key in space}
    return {path: space[key] for key, (owner, path) in keys.items() if owner in ("", label)}


def check_space(space: Mapping[str, Distribution], losses: tuple[Loss, ...]) -> None:
    """Refuse, in a validator's way, a space that names no loss or field, or draws values that a loss refuses."""
    labels = [loss.label for loss in losses]
    for key, distribution in space.items():
        owner, path = _owner_and_path(key, labels)
        if owner not in ("", *labels):
            raise refusal(unknown_name("label", owner, labels), f".space.{key}")
        for loss in losses:
            if owner in ("", loss.label):
                _check_distribution(loss, path, distribution, key, losses)


def _owner_and_path(key: str, labels: Sequence[str]) -> tuple[str, str]:
    """Return the label that a key begins with, or nothing where it is meant for all losses, and the path after it."""
    first, _, rest = key.partition(".")
    if first == "losses" and first not in labels:  # the whole path, as --set takes it
        return _owner_and_path(rest, labels)
    return ("", key) if not rest or (first in Loss.model_fields and first not in labels) else (first, rest)


def _check_distribution(loss: Loss, path: str, distribution: Distribution, key: str, losses: tuple[Loss, ...]) -> None:
    below = f".space.{key}"
    if path not in (known := _searchable(loss)):
        owners = [other.label for other in losses if path in _searchable(other)]
        hint = f"write {owners[0]}.{path} to search it for that loss alone; " if owners else did_you_mean(path, known)
        raise refusal(f"{loss.label} has no field {path!r} to search; {hint}it has {', '.join(sorted(known))}", below)
    if loss.values()[path] is None:
        raise refusal(f"{path} of {loss.label} is off (null), so there is nothing to search; give it a value", below)
    for value in distribution.extremes():
        try:
            loss.with_value(path, value)
        except ValidationError as error:
            found = reason(error.errors()[0])
            text = f"{value!r} is outside the range of {loss.label}'s {path}; it {found}"
            raise refusal(text, below) from None


def _searchable(loss: Loss) -> set[str]:
    return set(loss.values()) - {"name", "label"}
