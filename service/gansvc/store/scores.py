"""What the evaluation writes: a score, and the contract that makes it comparable; plain models, no torch, no Ray."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import Field

from gansvc.schema.bounded import Count, Plain, Table, Text
from gansvc.store.measured import Measured
from gansvc.store.records import Record

UNKNOWN = "unknown"
"""What stands for a field that a record of an earlier version lacks."""


class Contract(Record):
    """What makes a score comparable: two scores with unlike contracts must not be compared."""

    extractor: Text
    weights_sha256: Text
    resize: Count
    """Side of the resized image, pixels."""
    samples: Count
    """Images scored."""
    reference_split: Text
    reference_images: Count
    reference_sha256: Text
    """Hash of the reference images' content."""
    kid_subset_size: Count
    kid_subsets: Count
    dtype: Text
    seed: Count
    torch_fidelity: Text
    torch: Text = UNKNOWN
    timm: Text = UNKNOWN
    """``not used`` where the extractor is none of timm's."""
    fid: Text = UNKNOWN
    """Number of gansvc's own way to compute FID: it changes with the numbers, not with each version of gansvc."""
    data: Table[Text] = Field(default_factory=dict)
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

    label: Text
    """Label of the loss, or ``real`` for the noise floor."""
    seed: Count
    step: Count
    """Generator step of the scored checkpoint."""
    contract: Contract
    weights: Text = ""
    """Digest of the generator's weights that it scored, see ``gan.tensorfile.digest``; empty for real images."""
    identity: Plain = Field(default_factory=dict)
    """That of the run that it scored, see RunRecord.identity."""
    validation: float | None = None
    """Of the noise floor: what as many real training images as are generated on the way score on the val split."""
    seconds: float
    """Process-seconds of generating, extracting, measuring and auditing."""
