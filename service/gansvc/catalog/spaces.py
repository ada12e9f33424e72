"""What a search may draw from: distributions over a loss's fields, and the named spaces built of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from gansvc.catalog.entry import Section, lookup
from gansvc.errors import SpecError

Value = int | float | str
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
            raise PydanticCustomError("one_kind", "give exactly one of choice, uniform, log_uniform, int_uniform")
        kind, values = given.popitem()
        if kind != "choice" and not values[0] < values[1]:
            raise PydanticCustomError("range", "{kind} must rise from low to high", {"kind": kind})
        if kind == "log_uniform" and values[0] <= 0:
            raise PydanticCustomError("range", "log_uniform needs both ends above 0")
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
    if not isinstance(value, str):
        return value
    try:
        space = lookup(SPACES, "search space", value)
    except SpecError as error:
        raise PydanticCustomError("unknown_name", "{text}", {"text": str(error)}) from None
    return {field: distribution.model_dump(exclude_none=True) for field, distribution in space.items()}


Space = Annotated[Mapping[str, Distribution], BeforeValidator(_named_space), Field(min_length=1)]
"""Field of a loss, or ``label.field`` for one loss alone, to its distribution; or the name of an entry of SPACES."""
