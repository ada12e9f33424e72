"""What the evaluation writes: a score, and the contract that makes it comparable; plain models, no torch, no Ray."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import Field

from gansvc.measured import Measured
from gansvc.records import Record

UNKNOWN = "unknown"
"""What stands for a field that a record of an earlier version lacks."""


class Contract(Record):
    """What makes a score comparable: two scores with unlike contracts must not be compared."""

    extractor: str
    weights_sha256: str
    resize: int
    """Side of the resized image, pixels."""
    samples: int
    """Images scored."""
    reference_split: str
    reference_images: int
    reference_sha256: str
    """Hash of the reference images' content."""
    kid_subset_size: int
    kid_subsets: int
    dtype: str
    seed: int
    torch_fidelity: str
    torch: str = UNKNOWN
    timm: str = UNKNOWN
    """``not used`` where the extractor is none of timm's."""
    fid: str = UNKNOWN
    """Number of gansvc's own way to compute FID: it changes with the numbers, not with each version of gansvc."""
    data: dict[str, str] = Field(default_factory=dict)
    """Hashes of every split's images and labels, see ``gan.data.Images.content``; empty in older records."""

    def fields(self) -> dict[str, str]:
        """Return its fields as text, each split's hash as one of its own; what an older record lacks is unknown."""
        plain = {name: str(value) for name, value in self.model_dump(exclude={"data"}).items()}
        return plain | ({f"data.{name}": value for name, value in self.data.items()} or {"data": UNKNOWN})

    def differences(self, other: Contract) -> list[str]:
        """Return the names of the fields in which two contracts differ."""
        ours, theirs = self.fields(), other.fields()
        if not (self.data and other.data):
            # All hashes of one against none of the other are one difference.
            ours, theirs = ({n: v for n, v in f.items() if not n.startswith("data.")} for f in (ours, theirs))
        return [name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name)]

    def unlike(self, other: Contract, but: Collection[str] = ()) -> list[str]:
        """Return the fields in which two contracts differ, but for some, with both values: ``seed (0 and 1)``."""
        ours, theirs = ({"data": "known"} | contract.fields() for contract in (self, other))
        shown = ((name, ours.get(name, "none"), theirs.get(name, "none")) for name in self.differences(other))
        return [f"{name} ({_cut(one)} and {_cut(two)})" for name, one, two in shown if name not in but]


def _cut(value: str) -> str:
    return value[:12] if len(value) == 64 else value  # of a hash the first digits do


class Score(Record, Measured):
    """The metrics of one set of images under one contract (evaluation/<label>-seed<k>.json)."""

    label: str
    """Label of the loss, or ``real`` for the noise floor."""
    seed: int
    step: int
    """Generator step of the scored checkpoint."""
    contract: Contract
    weights: str = ""
    """Digest of the generator's weights that it scored, see ``gan.tensorfile.digest``; empty for real images."""
    identity: dict[str, Any] = Field(default_factory=dict)
    """That of the run that it scored, see RunRecord.identity."""
    validation: float | None = None
    """Of the noise floor: what as many real training images as are generated on the way score on the val split."""
    seconds: float
    """Process-seconds of generating, extracting, measuring and auditing."""
