"""The labels of a job's losses: their form, and the names that files and records have for something else."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from gansvc.schema.explain import refusal

REAL = "real"
"""Label of the records of real images, which the noise floor is one of: no loss may have it."""


def _refuse_reserved(label: str) -> str:
    if label == REAL:
        raise refusal(f"{label!r} is the label of the real images, the noise floor; choose another")
    if re.search(r"-seed\d+$", label):
        raise refusal(f"{label!r} reads as the name of a run; leave out {label[label.rindex('-seed') :]!r}")
    return label


Label = Annotated[str, Field(max_length=40, pattern=r"^([a-z0-9][a-z0-9_-]*)?$"), AfterValidator(_refuse_reserved)]
