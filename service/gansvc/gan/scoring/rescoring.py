"""Score a model folder again, in this process alone, as its card says that it was scored: so the number is the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansvc.catalog.metrics import METRICS
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store.records import Record
from gansvc.store.scores import Score

if TYPE_CHECKING:
    from gansvc.gan.modelfolder import ModelCard


class Rescored(Record):
    """A model's score, and how it stands to the one on its card."""

    model: str
    """Path of the model folder."""
    dataset: str
    score: Score
    card: Score | None
    """The job's score; None where the card has none."""
    differences: tuple[str, ...]
    """Fields in which the two contracts differ: where there are any, the two scores must not be compared."""
    unknown: tuple[str, ...] = ()
    """Fields that the card lacks, being of an earlier version: whether the contracts agree in them can't be told."""


def evaluate(model: Path, dataset: Any = None, values: Mapping[str, Any] | None = None) -> Rescored:
    """Generate the card's samples again and score them.

    Args:
        model: a pulled model folder.
        dataset: a data set as a job file names it, read with the model's channels and size; the card's if left out.
        values: other fields by dotted path, as ``evaluation.samples``.

    Raises:
        SpecError: the folder holds no model, or the data set or a value doesn't fit.
        ClusterError: the data can't be fetched.
    """
    import torch

    from gansvc.gan import data, modelfolder, sampling
    from gansvc.gan.scoring import features
    from gansvc.gan.scoring.score import make_score

    card, network = modelfolder.load_model(model)
    spec = _spec(card, dataset, values or {})
    evaluation, device = spec.evaluation, "cuda" if torch.cuda.is_available() else "cpu"
    # First of all, so that missing weights are said in a sentence, and before anything is computed.
    features.load_extractor(evaluation.extractor, device)
    loaded = data.load(spec.dataset)
    reference = loaded.split(evaluation.reference)
    real = features.reference_features(reference, evaluation.extractor, device)
    images = sampling.generate(network.to(device), card.network.latent_dim, evaluation.seed, evaluation.samples)
    fake = features.extract(images, evaluation.extractor, device)
    about = (spec.losses[0].label, card.seed, card.step)
    found = make_score(*about, fake, reference, real, evaluation, loaded.content)
    return Rescored(
        model=str(model),
        dataset=spec.dataset.title,
        score=found,
        card=card.score,
        differences=tuple(card.score.contract.differences(found.contract)) if card.score else (),
        unknown=tuple(card.score.contract.unknown(found.contract)) if card.score else (),
    )


def _spec(card: ModelCard, dataset: Any, values: Mapping[str, Any]) -> JobSpec:
    """Return the card as a spec, so that what is asked for is checked as in a job file."""
    given: dict[str, Any] = {"name": "evaluate", "dataset": card.dataset, "losses": [card.loss]}
    # The generator knows by itself how often each class occurs, so the other set needs none.
    given["network"] = card.network.model_dump(mode="json") | {"conditional": False}
    if card.score is not None:
        contract = card.score.contract
        given["evaluation"] = {
            "extractor": {"name": contract.extractor, "size": contract.resize},
            "metrics": [m.name for m in METRICS.values() if m.shown[0] in {*card.score.metrics, *card.score.skipped}],
            "samples": contract.samples,
            "reference": contract.reference_split,
            "seed": contract.seed,
        }
    if dataset is not None:
        named = {"name": dataset} if isinstance(dataset, str) else dataset
        given["dataset"] = {**named, "channels": card.channels, "size": card.size} if isinstance(named, dict) else named
    return jobfile.validate(given).with_values(values)
