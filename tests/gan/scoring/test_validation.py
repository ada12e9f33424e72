"""The validation score: deterministic, and what it is where the images are no numbers or all alike."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from gansvc.catalog.extractors import Extractor
from gansvc.catalog.metrics import Features
from gansvc.errors import RunError
from gansvc.gan.networks import build_generator
from gansvc.gan.sampling import chunks, generate
from gansvc.gan.scoring.features import extract, extract_samples
from gansvc.gan.scoring.validation import Validator
from gansvc.spec.job import JobSpec

Make = Callable[..., JobSpec]
LITE = Extractor(name="efficientnet-lite0", size=32)


def test_validator_is_deterministic(tiny: Make, validator: Validator) -> None:
    network = build_generator(tiny().network, 3)
    assert validator(network) == validator(network)


@pytest.mark.parametrize("variance", [math.nan, -1.0])
def test_images_that_are_no_numbers_are_refused_and_have_no_score(
    variance: float, tiny: Make, validator: Validator
) -> None:
    network = build_generator(tiny().network, 3)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_var is not None:
            layer.running_var.fill_(variance)
    with pytest.raises(RunError, match="images that aren't numbers"):
        list(generate(network, 8, 0, 60))
    found = validator(network)
    assert math.isnan(found.objective) and found.diversity is None
    # Of 130 samples the second of two workers has the second chunk.
    evaluation = tiny().evaluation
    for rank, rows in ((0, 80), (1, 50)):
        features = extract_samples(network, 8, evaluation, 130, rank, 2)
        assert features.pool.shape == (rows, 1280) and features.logits.shape == (rows, 1000)
        assert bool(features.pool.isnan().all()) and bool(features.logits.isnan().all())


def test_real_images_that_are_all_alike_have_no_diversity_to_share(tiny: Make, validator: Validator) -> None:
    alike = extract(chunks(torch.full((50, 3, 28, 28), 9, dtype=torch.uint8)), LITE)
    # The images needn't be alike for that: what counts are their features.
    same = Features(alike.pool[:1].expand(50, -1), alike.logits[:1].expand(50, -1))
    found = dataclasses.replace(validator, reference=same)(build_generator(tiny().network, 3))
    assert found.diversity is None and math.isfinite(found.objective)
