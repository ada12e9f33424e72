"""Scores: equal to torch-fidelity's own on the same images, whatever the batch size and however the work is shared."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch_fidelity
from torch import nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from gansvc.catalog.extractors import Extractor
from gansvc.catalog.metrics import FIDELITY_KEYS, METRICS, Features
from gansvc.gan.data import Images, load, to_float
from gansvc.gan.networks import build_generator
from gansvc.gan.sampling import chunks, generate
from gansvc.gan.scoring.features import extract
from gansvc.gan.scoring.score import make_score
from gansvc.gan.scoring.validation import Validator
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec

Make = Callable[..., JobSpec]
LITE = Extractor(name="efficientnet-lite0", size=32)
SHARED = """
name: shared
dataset: histology
network: {name: dcgan, width: 4, latent_dim: 8}
losses: [wgan]
evaluation: {extractor: {name: efficientnet-lite0, size: 32}}
"""


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory, histology: Images) -> Extractor:
    """Return inception-v3 with random weights, its norms measured on real images: else all features are alike."""

    class Blank(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, *args: object, **kwargs: object) -> None:
            """Keep the random weights."""

    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save({}, path)
    torch.manual_seed(0)
    blank = Blank("blank", ["2048"], feature_extractor_weights_path=str(path))
    for layer in blank.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    blank.fc.weight.mul_(8)
    blank.train()(histology.train[::10])
    torch.save(blank.state_dict(), path)
    return Extractor(name="inception-v3", weights=str(path))


@pytest.fixture(scope="module")
def registered() -> Iterator[str]:
    """Make our extractor known to torch-fidelity by a name, so that it does the batching and the metrics itself."""

    class Registered(FeatureExtractorBase):  # type: ignore[misc]
        def __init__(self, name: str, features_list: list[str], **kwargs: object) -> None:
            super().__init__(name, features_list)
            self.network = LITE.build()

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("1280", "logits")

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "1280"

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            found = dict(zip(self.get_provided_features_list(), self.network(images), strict=True))
            return tuple(found[name] for name in self.features_list)

    torch_fidelity.register_feature_extractor("lite", Registered)
    yield "lite"
    del FEATURE_EXTRACTORS_REGISTRY["lite"]


class Recalling(nn.Module):
    """A generator of real images with its own laid over them, so that no metric is at an end of its range."""

    def __init__(self, own: nn.Module, images: torch.Tensor) -> None:
        super().__init__()
        self.own, self.images = own, nn.Parameter(to_float(images), requires_grad=False)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        chosen = (z.abs().sum(dim=1) * 1000).long() % len(self.images)
        drawn: torch.Tensor = 0.95 * self.images[chosen] + 0.05 * self.own(z)
        return drawn


class Listed(torch.utils.data.Dataset[torch.Tensor]):
    """Images as torch-fidelity wants them."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


def recalled(tiny: Make, histology: Images) -> nn.Module:
    torch.manual_seed(0)
    return Recalling(build_generator(tiny().network, 3), histology.train)


def ours(images: list[torch.Tensor], real: torch.Tensor, spec: JobSpec) -> dict[str, float]:
    """Return the metrics that the evaluator writes."""
    features = [extract(pieces, spec.evaluation.extractor) for pieces in (images, chunks(real))]
    return make_score("wgan", 0, 1, features[0], real, features[1], spec.evaluation).metrics


def theirs(fake: torch.Tensor, real: torch.Tensor, batch_size: int, **extractor: str) -> dict[str, float]:
    """Return the same columns from torch-fidelity, called directly on the same images with its own defaults."""
    found = torch_fidelity.calculate_metrics(
        input1=Listed(fake), input2=Listed(real), isc=True, fid=True, kid=True, prc=True, cuda=False, verbose=False,
        cache=False, batch_size=batch_size, kid_subset_size=min(1000, len(fake), len(real)), **extractor,
    )  # fmt: skip
    return {column: found[key] for column, key in FIDELITY_KEYS.items()}


def assert_telling(found: dict[str, float]) -> None:
    """Assert that the metrics lie where they would show a difference."""
    assert found["is"] > 1.02 and found["fid"] > 0 and found["kid"] > 0.001
    assert all(0.05 < found[column] < 0.95 for column in ("precision", "recall"))


def test_inception_equals_torch_fidelity_called_directly(inception: Extractor, tiny: Make, histology: Images) -> None:
    fake, real = torch.cat(list(generate(recalled(tiny, histology), 8, 0, 30))), histology.test[::3]
    found = ours(list(chunks(fake)), real, tiny(evaluation__extractor=inception.model_dump()))
    assert_telling(found)
    direct = theirs(
        fake, real, 7, feature_extractor="inception-v3-compat", feature_extractor_weights_path=str(inception.weights)
    )
    assert found == pytest.approx(direct, rel=1e-3)


@pytest.mark.parametrize("batch_size", [7, 64])
def test_efficientnet_equals_torch_fidelity_called_directly(
    batch_size: int, registered: str, tiny: Make, histology: Images
) -> None:
    fake, real = torch.cat(list(generate(recalled(tiny, histology), 8, 0, 130))), histology.test
    found = ours(list(chunks(fake)), real, tiny())
    assert_telling(found)
    assert found == pytest.approx(theirs(fake, real, batch_size, feature_extractor=registered), rel=1e-3)


def test_scores_do_not_depend_on_the_batch_size(tiny: Make, histology: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    network, found = recalled(tiny, histology), {}
    for size in (7, 50, 64):
        monkeypatch.setattr("gansvc.gan.sampling.CHUNK", size)
        images = list(generate(network, 8, 0, 130))
        assert [len(chunk) for chunk in images] == [size] * (130 // size) + [130 % size]
        found[size] = ours(images, histology.test, tiny())
    assert_telling(found[50])
    assert found[7] == pytest.approx(found[50], rel=1e-3) and found[64] == pytest.approx(found[50], rel=1e-3)


def test_fid_of_fewer_samples_than_dimensions_against_the_formula(tiny: Make, histology: Images) -> None:
    real, fake = (extract(chunks(images), LITE).pool.double() for images in (histology.test, histology.train[:90]))
    a, b = ((rows - rows.mean(dim=0)) / (len(rows) - 1) ** 0.5 for rows in (real, fake))
    # The eigenvalues of a'a b'b other than zero are the squared singular values of a b', which has full rank.
    cross = torch.linalg.svdvals(a @ b.T).sum()
    distance = (real.mean(dim=0) - fake.mean(dim=0)).square().sum()
    expected = float(distance + a.square().sum() + b.square().sum() - 2 * cross)
    found = METRICS["fid"].compute(Features(fake.float(), fake.float()), Features(real.float(), real.float()))
    assert found["fid"] == pytest.approx(expected, rel=1e-3)


def test_two_workers_share_a_validation_score_and_get_one_workers_score(tmp_path: Path) -> None:
    _validate(0, 1, 0, str(tmp_path))
    port = str(_free_port())
    workers = [subprocess.Popen([sys.executable, __file__, str(rank), "2", port, str(tmp_path)]) for rank in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    alone, *shared = (torch.load(tmp_path / name, weights_only=True) for name in ("1-0.pt", "2-0.pt", "2-1.pt"))
    assert shared == [alone, alone]


def test_images_of_one_worker_that_are_no_numbers_take_the_score_from_both(tmp_path: Path) -> None:
    port = str(_free_port())
    words = ["2", port, str(tmp_path), "broken"]
    workers = [subprocess.Popen([sys.executable, __file__, str(rank), *words]) for rank in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    for rank in range(2):
        objective, diversity = torch.load(tmp_path / f"2-{rank}.pt", weights_only=True)
        assert math.isnan(objective) and diversity is None


def _validate(rank: int, world_size: int, port: int, folder: str, broken: bool = False) -> None:
    torch.set_num_threads(1)
    if world_size > 1:
        address = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world_size)
    spec = jobfile.parse(SHARED)
    features = extract(chunks(load(spec.dataset).val[:130]), LITE)
    torch.manual_seed(0)
    network = build_generator(spec.network, 3)
    if broken and rank == 1:
        next(network.parameters()).data.fill_(torch.nan)
    found = Validator(spec.evaluation, "kid", features, 8)(network, rank, world_size)
    torch.save(tuple(found), Path(folder) / f"{world_size}-{rank}.pt")
    if world_size > 1:
        dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    _validate(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], "broken" in sys.argv)
