"""Scores, and the contracts that make them comparable: plain models, no torch, no Ray."""

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
    details: Table[Text] = Field(default_factory=dict)
    """What else decides the numbers: ``packages.NAME``, a version that matters to the extractor, and ``settings.NAME``,
    those of a metric. What only one of two contracts has is no difference: the other has nothing that was made by it.
    """

    def fields(self) -> dict[str, str]:
        """Return its fields as text, each split's hash as one of its own; what an older record lacks is unknown."""
        plain = {name: str(value) for name, value in self.model_dump(exclude={"data", "details"}).items()}
        data = {f"data.{name}": value for name, value in self.data.items()} or {"data": UNKNOWN}
        return plain | data | self.details

    def differences(self, other: Contract) -> list[str]:
        """Return the names of the fields in which two contracts differ; one that either lacks is no difference."""
        return [name for name, ours, theirs in self._unequal(other) if UNKNOWN not in (ours, theirs)]

    def unlike(self, other: Contract, but: Collection[str] = ()) -> list[str]:
        """Return the fields in which two contracts differ, but for some, with both values: ``seed (0 and 1)``."""
        found = (one for one in self._unequal(other) if UNKNOWN not in one[1:] and one[0] not in but)
        return [f"{name} ({_cut(ours)} and {_cut(theirs)})" for name, ours, theirs in found]

    @property
    def lacking(self) -> set[str]:
        """The fields that its record lacks, being of an earlier version."""
        return {name for name, value in self.fields().items() if value == UNKNOWN}

    def unknown(self, other: Contract) -> list[str]:
        """Return the fields that one of two contracts lacks, or both do: whether they agree there can't be told."""
        return sorted(self.lacking | other.lacking)

    def _unequal(self, other: Contract) -> list[tuple[str, str, str]]:
        """Return the fields of unequal values with both of these; of the data only where both have it."""
        ours, theirs = self.fields(), other.fields()
        apart = {*self.details} ^ {*other.details}
        if not (self.data and other.data):
            apart |= {name for name in {**ours, **theirs} if name.partition(".")[0] == "data"}
        names = [name for name in {**ours, **theirs} if name not in apart]
        pairs = ((name, ours.get(name, "none"), theirs.get(name, "none")) for name in names)
        return [pair for pair in pairs if pair[1] != pair[2]]


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
