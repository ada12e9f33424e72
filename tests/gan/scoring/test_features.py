"""Samples and their features: the same however the work is shared, and those of real images are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gansvc.catalog.extractors import Extractor
from gansvc.catalog.metrics import Features
from gansvc.gan.data import Images, to_float, to_uint8
from gansvc.gan.networks import build_generator
from gansvc.gan.sampling import CHUNK, generate
from gansvc.gan.scoring.features import extract, join, reference_features
from gansvc.spec.job import JobSpec

Make = Callable[..., JobSpec]
LITE = Extractor(name="efficientnet-lite0", size=32)


def test_uint8_and_float_are_inverse() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_uint8(to_float(values)), values)
    assert to_uint8(torch.tensor([-5.0, 5.0])).tolist() == [0, 255]


def test_samples_do_not_depend_on_how_the_work_is_shared(tiny: Make) -> None:
    network = build_generator(tiny().network, 3).eval()
    whole = torch.cat(list(generate(network, 8, 3, 130)))
    assert whole.shape == (130, 3, 28, 28) and whole.dtype == torch.uint8
    shared = [list(generate(network, 8, 3, 130, rank, 2)) for rank in range(2)]
    assert torch.equal(torch.cat([shared[0][0], shared[1][0], shared[0][1]]), whole)
    assert torch.equal(torch.cat(list(generate(network, 8, 3, 50))), whole[:50])


def test_joined_parts_are_in_the_order_of_the_samples() -> None:
    rows = torch.arange(130.0).view(130, 1)
    pieces = torch.split(rows, CHUNK)
    # Of four parts the last one's turn never came.
    for count in (1, 2, 3, 4):
        shared = [torch.cat([rows[:0], *pieces[part::count]]) for part in range(count)]
        whole = join([Features(part, -part) for part in shared])
        assert torch.equal(whole.pool, rows) and torch.equal(whole.logits, -rows)


def test_efficientnet_gives_imagenet_features() -> None:
    features = extract([torch.zeros(2, 1, 28, 28, dtype=torch.uint8)], LITE)
    assert features.pool.shape == (2, 1280) and features.logits.shape == (2, 1000)
    assert torch.allclose(features.pool[0], features.pool[1])


def test_reference_features_are_kept_by_content(
    histology: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = reference_features(histology.test[:10], LITE)
    kept = list((tmp_path / "cache" / "features").iterdir())
    assert len(kept) == 1
    monkeypatch.setattr("gansvc.gan.scoring.features.extract", None)
    assert torch.equal(reference_features(histology.test[:10], LITE).pool, first.pool)
    with pytest.raises(TypeError):
        reference_features(histology.test[1:11], LITE)
