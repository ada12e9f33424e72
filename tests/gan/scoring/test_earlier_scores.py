"""Scores are those of version 0.1: these numbers were made at commit fa729c0, of the same features and images."""

from __future__ import annotations

import pytest
import torch

from gansvc.catalog.metrics import METRICS, Features
from gansvc.gan import data
from gansvc.gan.sampling import chunks
from gansvc.gan.scoring.features import extract
from gansvc.gan.scoring.metrics import measure
from gansvc.gan.scoring.score import make_score
from gansvc.spec import jobfile

SPEC = """
name: earlier
dataset: histology
losses: [lsgan]
evaluation: {extractor: {name: efficientnet-lite0, size: 32}, samples: 60, validation_samples: 50}
"""
DRAWN = {
    "is": 2.1600701549897794,
    "is_std": 0.39820972784445197,
    "fid": 2.4382586125806043,
    "kid": 0.315413818359375,
    "kid_std": 0.08601914512035257,
    "precision": 0.800000011920929,
    "recall": 0.6499999761581421,
    "f_score": 0.7172413695864951,
    "fid_inf": 1.9821172025061378,
}
VALIDATION = {"kid": 0.4334526062011719, "fid": 2.4382586125806043}
EXTRACTED = {
    "is": 1.0752804373965343,
    "is_std": 0.02467947980838007,
    "fid": 37.74930569354488,
    "kid": 0.03812833309173584,
    "kid_std": 1.5590460514327826e-07,
    "precision": 0.05000000074505806,
    "recall": 0.7333333492279053,
    "f_score": 0.09361702271207202,
}
CONTRACT = {
    "extractor": "efficientnet-lite0",
    "weights_sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "resize": 32,
    "samples": 60,
    "reference_split": "test",
    "reference_images": 60,
    "reference_sha256": "347a495f16ae05ad604a7a88dfc72db77b7557bfbac6377e0a6f6051a7de3f5e",
    "kid_subset_size": 60,
    "kid_subsets": 100,
    "dtype": "float32",
    "seed": 0,
    "fid": "1",
    "details": {},
}


def drawn(count: int, seed: int) -> Features:
    rows = torch.randn(count, 12, generator=torch.Generator().manual_seed(seed))
    return Features(rows[:, :8] * (1 + 0.1 * seed), rows[:, 8:] * 3)


def test_metrics_of_drawn_features() -> None:
    fake, real = drawn(60, 1), drawn(40, 2)
    found = measure(fake, real, [METRICS[name] for name in ("is", "fid", "kid", "precision-recall")])
    assert found.metrics == pytest.approx(DRAWN, rel=1e-9) and list(found.metrics) == list(DRAWN)
    on_the_way = {name: measure(fake, real, [METRICS[name].for_validation()]).metrics[name] for name in VALIDATION}
    assert on_the_way == pytest.approx(VALIDATION, rel=1e-9)


def test_a_score_with_its_contract() -> None:
    spec = jobfile.parse(SPEC)
    images, extractor = data.load(spec.dataset), spec.evaluation.extractor
    fake, real = (extract(chunks(part[:60]), extractor) for part in (images.train, images.test))
    score = make_score("lsgan", 3, 7, fake, images.test[:60], real, spec.evaluation, images.content)
    # Convolutions round otherwise on other processors, and the deviation of equal subsets is nothing but rounding.
    assert score.metrics == pytest.approx(EXTRACTED, rel=1e-4, abs=1e-5) and list(score.metrics) == list(EXTRACTED)
    assert list(score.skipped) == ["fid_inf"]
    left = {"torch", "timm", "torch_fidelity", "data"}
    assert score.contract.model_dump(mode="json", exclude=left) == CONTRACT
    assert score.contract.data == images.content
