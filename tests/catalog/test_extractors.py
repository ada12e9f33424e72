"""Extractors: their weights are read as tensors alone, and missing ones name the way to get them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from gansvc.catalog.extractors import EXTRACTORS, Extractor
from gansvc.errors import SpecError

LITE = Extractor(name="efficientnet-lite0", size=32)


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    import pickle

    target = tmp_path / "executed"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return (Path.touch, (target,))

    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Attack()))
    for name in ("inception-v3", "efficientnet-lite0"):
        with pytest.raises(SpecError, match=r"weights.pth doesn't fit this extractor"):
            Extractor(name=name, weights=str(path)).build()
    assert not target.exists()


def test_weights_of_other_shapes_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "weights.pth")
    for name in ("inception-v3", "efficientnet-lite0"):
        with pytest.raises(SpecError, match="doesn't fit this extractor"):
            Extractor(name=name, weights=str(tmp_path / "weights.pth")).build()


def test_missing_weights_name_path_source_and_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    problem = Extractor(name="inception-v3").missing()
    assert problem is not None and str(tmp_path) in problem and "https://" in problem and "weights: PATH" in problem


@pytest.mark.parametrize("name", EXTRACTORS)
def test_an_extractor_gives_features_of_the_width_that_it_says(name: str) -> None:
    extractor = Extractor(name=name)
    if extractor.missing():
        pytest.skip("its weights aren't here")
    pool, logits = extractor.build()(torch.zeros(1, 3, 28, 28, dtype=torch.uint8))
    assert pool.shape == (1, EXTRACTORS[name].dimensions) and len(logits) == 1
