"""Metrics of records: finite numbers alone, and for what is none the reason."""

from __future__ import annotations

from math import isfinite
from typing import Any

from pydantic import BaseModel, model_validator

from gansvc.schema.bounded import Table, Text

NO_NUMBER = "it came out as no finite number"


class Measured(BaseModel):
    """Metrics of one set of images; what is no finite number is left out, with the reason."""

    metrics: Table[float]
    """Column of the metric table to value."""
    skipped: Table[Text] = {}
    """Column that was left out to the reason, as half a sentence."""

    @model_validator(mode="before")
    @classmethod
    def _drop_non_finite(cls, data: Any) -> Any:
        """Move what isn't finite, null in files of earlier versions, from the metrics to what was left out."""
        if not isinstance(data, dict) or not isinstance(metrics := data.get("metrics"), dict):
            return data
        broken = [key for key, value in metrics.items() if value is None or _is_non_finite(value)]
        # A deviation goes with its own column.
        reasons = {key: NO_NUMBER for key in broken if not key.endswith("_std")}
        kept = {key: value for key, value in metrics.items() if key not in broken}
        return data | {"metrics": kept} | ({"skipped": reasons | data.get("skipped", {})} if reasons else {})


def _is_non_finite(value: Any) -> bool:
    return isinstance(value, float) and not isfinite(value)
