"""What a search may draw from: distributions over a loss's fields, and the named spaces built of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from gansvc.catalog.losses import Loss
from gansvc.schema.explain import reason, refusal, shown
from gansvc.schema.section import Section, Shorthand, check_name


def _plain_value(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise refusal(f"{shown(value)} doesn't fit; it must be a number or a string")
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
        raise refusal(f"{shown(value)} doesn't fit; it must be a name or a mapping; known: {', '.join(sorted(SPACES))}")
    for key in value:
        if not isinstance(key, str):
            raise refusal(f"{key!r} is no field of a loss; write the field's name, as critic_lr or wgan.clip")
    return value


Space = Annotated[Mapping[str, Distribution], Field(min_length=1), Shorthand(SPACES, _named_space)]
"""Field of a loss, or ``label.field`` for one loss alone, to its distribution; or the name of an entry of SPACES."""


def check_space(space: Mapping[str, Distribution], losses: tuple[Loss, ...]) -> None:
    """Refuse, in a validator's way, a space that names no loss or field, or draws values that a loss refuses."""
    for key, distribution in space.items():
        owner, _, field = key.rpartition(".")
        concerned = [loss for loss in losses if owner in ("", loss.label)]
        if not concerned:
            known = ", ".join(loss.label for loss in losses)
            raise refusal(f"no loss has the label {owner!r}; known: {known}", f".space.{key}")
        for loss in concerned:
            if field not in _searchable(loss):
                owners = [other.label for other in losses if field in _searchable(other)]
                hint = f"write {owners[0]}.{field} to search it for that loss alone" if owners else ""
                hint = hint or f"it has {', '.join(sorted(_searchable(loss)))}"
                raise refusal(f"{loss.label} has no field {field!r} to search; {hint}", f".space.{key}")
            for value in distribution.extremes():
                _check_value(loss, field, value, key)


def _searchable(loss: Loss) -> set[str]:
    return set(type(loss).model_fields) - {"name", "label"}


def _check_value(loss: Loss, field: str, value: Value, key: str) -> None:
    try:
        type(loss).model_validate(loss.model_dump() | {field: value})
    except ValidationError as error:
        found = reason(error.errors()[0])
        text = f"{value!r} is outside the range of {loss.label}'s {field}; it {found}"
        raise refusal(text, f".space.{key}") from None
