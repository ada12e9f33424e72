"""The model folder: three forms of one generator, and a card that says what it is and isn't."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from onnxruntime import InferenceSession
from torch import nn

from gansvc import api
from gansvc.catalog.networks import NETWORKS
from gansvc.cli import app
from gansvc.errors import SpecError
from gansvc.gan import modelfolder
from gansvc.gan.artifact import drawing, export, portable
from gansvc.gan.artifact.card import readme
from gansvc.gan.checkpoint import save_best
from gansvc.gan.images import png
from gansvc.gan.networks import build_generator
from gansvc.gan.sampling import generate_of
from gansvc.gan.streams import sample_labels
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord
from gansvc.store.scores import Score

from ...builders.jobs import CONTRACT
from ...builders.models import write_model

Make = Callable[..., JobSpec]


SHARES = torch.tensor([0.5, 0.25, 0.25])


def generator(name: str, **fields: object) -> torch.nn.Module:
    """Return a generator whose batch statistics, if it keeps any, aren't those it was made with."""
    network = NETWORKS[name].model_validate({"name": name, "width": 4, "latent_dim": 8, **fields})
    torch.manual_seed(3)
    made = build_generator(network, 3, 28, SHARES)
    labels = (torch.arange(16) % 3,) if network.conditional else ()
    with torch.no_grad():
        for layer in made.modules():
            if isinstance(layer, nn.ConvTranspose2d):
                layer.weight.mul_(10)  # as training would: DCGAN's images are nearly of one colour at the start
    for _ in range(3):
        made(torch.randn(16, 8), *labels)
    return made


@pytest.fixture
def written(tiny: Make, tmp_path: Path) -> tuple[Path, torch.nn.Module]:
    return write_model(tiny, tmp_path)


@pytest.fixture
def conditional(tmp_path: Path) -> tuple[Path, torch.nn.Module]:
    """The folder of a conditional model of three classes, and the module that it was written from."""
    network = {"name": "dcgan", "width": 4, "latent_dim": 8, "conditional": True}
    given = {"name": "tiny", "dataset": {"name": "npz", "path": "mine.npz"}, "network": network, "losses": ["lsgan"]}
    spec, weights = jobfile.validate(given), Folder(tmp_path / "checkpoints")
    made = generator("dcgan", conditional=True)
    save_best(weights, made.state_dict(), 40, 0.05)
    run = RunRecord(label="lsgan", seed=1, values={"name": "lsgan", "label": "lsgan"}, state="finished")
    score = Score(label="lsgan", seed=1, step=40, metrics={"kid": 0.03}, contract=CONTRACT, seconds=1)
    classes = ("normal", "mild", "severe")
    export.export(Folder(tmp_path / "model"), "tiny-1a2b", spec, 3, run, score, weights, classes)
    return tmp_path / "model", made.eval()


@pytest.mark.parametrize(
    ("name", "fields"), [("dcgan", {}), ("dcgan", {"generator_norm": "group"}), ("resnet", {})], ids=str
)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_both_forms_give_the_modules_images_for_any_number_of_latents(
    name: str, fields: dict[str, object], count: int
) -> None:
    network, example = generator(name, **fields), {"z": torch.zeros(2, 8)}
    scripted = torch.jit.load(io.BytesIO(portable.torchscript(network, example)))
    graph = portable.onnx(network, example)
    assert graph is not None
    session = InferenceSession(graph, providers=["CPUExecutionProvider"])
    latents = torch.randn(count, 8)
    with torch.no_grad():
        expected = network.eval()(latents)
        assert expected.std() > 1e-3, "a generator of one colour would prove nothing"
        torch.testing.assert_close(scripted(latents), expected, rtol=0, atol=1e-6)
    (images,) = session.run(["images"], {"z": latents.numpy()})
    torch.testing.assert_close(torch.from_numpy(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("count", [1, 2, 7])
def test_both_forms_of_a_conditional_generator_take_any_latents_and_classes(name: str, count: int) -> None:
    network = generator(name, conditional=True)
    example = {"z": torch.zeros(2, 8), "labels": torch.zeros(2, dtype=torch.int64)}
    scripted = torch.jit.load(io.BytesIO(portable.torchscript(network, example)))
    graph = portable.onnx(network, example)
    assert graph is not None
    session = InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == ["z", "labels"]
    latents, labels = torch.randn(count, 8), torch.arange(count) % 3
    with torch.no_grad():
        expected, others = network.eval()(latents, labels), network(latents, (labels + 1) % 3)
        assert (expected - others).abs().max() > 1e-3, "a generator without an ear for classes would prove nothing"
        torch.testing.assert_close(scripted(latents, labels), expected, rtol=0, atol=1e-6)
    (images,) = session.run(["images"], {"z": latents.numpy(), "labels": labels.numpy()})
    torch.testing.assert_close(torch.from_numpy(images), expected, rtol=1e-4, atol=1e-5)


def test_a_generator_in_training_mode_is_exported_in_evaluation_mode() -> None:
    network = generator("dcgan").train()
    scripted = torch.jit.load(io.BytesIO(portable.torchscript(network, {"z": torch.zeros(2, 8)})))
    latents = torch.randn(2, 8)
    with torch.no_grad():
        alone, together = scripted(latents[:1]), scripted(latents)
    torch.testing.assert_close(alone, together[:1]), "batch statistics would mix the images"


def test_a_model_whose_weights_were_changed_is_refused(written: tuple[Path, torch.nn.Module], tmp_path: Path) -> None:
    drawing.sample(written[0], 4, tmp_path / "grid.png", 0)
    (tmp_path / "grid.png").unlink()
    weights = written[0] / "generator.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(SpecError, match=r"is not the file that model\.json tells of; pull it again"):
        drawing.sample(written[0], 4, tmp_path / "grid.png", 0)
    assert not (tmp_path / "grid.png").exists()


def test_the_folder_holds_one_generator_in_three_forms(written: tuple[Path, torch.nn.Module]) -> None:
    folder, network = written
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("README.md", "model.json", "samples.png"),
        *("generator.safetensors", "generator.torchscript.pt", "generator.onnx"),
    }
    latents = torch.randn(5, 8)
    with torch.no_grad():
        expected = network(latents)
        scripted = torch.jit.load(folder / "generator.torchscript.pt")(latents)
    torch.testing.assert_close(scripted, expected, rtol=0, atol=1e-6)
    (images,) = InferenceSession(folder / "generator.onnx").run(None, {"z": latents.numpy()})
    torch.testing.assert_close(torch.from_numpy(images), expected, rtol=1e-4, atol=1e-5)
    kept = safetensors.torch.load((folder / "generator.safetensors").read_bytes())
    assert all(torch.equal(kept[name], value) for name, value in network.state_dict().items())


def test_the_card_says_what_the_model_is_and_is_not(written: tuple[Path, torch.nn.Module]) -> None:
    folder, _ = written
    card = json.loads((folder / "model.json").read_bytes())
    assert card["weights_sha256"] == hashlib.sha256((folder / "generator.safetensors").read_bytes()).hexdigest()
    assert jobfile.validate(card["spec"]).name == "tiny"
    assert card["torch"] == torch.__version__ and card["gansvc"] == version("gansvc")
    assert card["score"]["contract"] == CONTRACT.model_dump()
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\n") and yaml.safe_load(text.split("---\n")[1])["tags"][0] == "gan"
    for said in (
        "# wgan-gp on histology",
        "must not be used for diagnosis",
        "CC0",
        "| metric, against the test split | value | better |",
        "| kid | 0.0312 ± 0.0021 | lower |",
        "| fid | 91.5 | lower |",
        "| reference_sha256 | ab12 |",
        card["weights_sha256"],
        "critic_lr 0.0001",
    ):
        assert said in text
    block = text.split("```yaml\n")[1].split("```")[0]
    assert jobfile.parse(block) == jobfile.validate(card["spec"]), "the spec runs again"


def test_the_cards_examples_run(written: tuple[Path, torch.nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    examples_run(written[0], monkeypatch)


def examples_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    blocks = (folder / "README.md").read_text(encoding="utf-8").split("```python\n")[1:]
    assert len(blocks) == 2
    for block in blocks:
        scope: dict[str, object] = {}
        exec(block.split("```")[0], scope)
        assert tuple(scope["images"].shape) == (16, 3, 28, 28)  # type: ignore[attr-defined]


def test_a_card_of_an_earlier_version_is_read(written: tuple[Path, torch.nn.Module], tmp_path: Path) -> None:
    folder, _ = written
    card = json.loads((folder / "model.json").read_bytes())
    for name in ("spec", "source", "weights_sha256", "gansvc", "torch", "created", "limits", "classes", "shares"):
        del card[name]
    del card["network"]["conditional"]
    (folder / "model.json").write_text(json.dumps(card))
    assert drawing.sample(folder, 4, tmp_path / "grid.png", 0).is_file()


def test_a_conditional_models_folder_says_its_classes_and_how_to_ask_for_one(
    conditional: tuple[Path, torch.nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = conditional
    card = json.loads((folder / "model.json").read_bytes())
    assert (card["classes"], card["shares"]) == (["normal", "mild", "severe"], [0.5, 0.25, 0.25])
    text = (folder / "README.md").read_text(encoding="utf-8")
    for said in ("Input `labels`: int64 (N,)", "| 1 | mild | 25.0 % |", "gansvc sample . -n 64 -o grid.png --class 2"):
        assert said in text
    assert "pipeline_tag" not in yaml.safe_load(text.split("---\n")[1])
    examples_run(folder, monkeypatch)


def test_a_class_name_keeps_its_cell_of_the_cards_table(conditional: tuple[Path, torch.nn.Module]) -> None:
    card = modelfolder.ModelCard.model_validate_json((conditional[0] / "model.json").read_bytes())
    named = card.model_copy(update={"classes": ("a|b", "<b>c</b>", "d")})
    rows = [line for line in readme(named, ()).splitlines() if line.startswith(("| 0", "| 1"))]
    assert rows == ["| 0 | a&#124;b | 50.0 % |", "| 1 | &lt;b&gt;c&lt;/b&gt; | 25.0 % |"]


def test_a_conditional_model_draws_the_class_that_is_asked_for(
    conditional: tuple[Path, torch.nn.Module], tmp_path: Path
) -> None:
    folder, network = conditional
    with pytest.raises(SystemExit) as ended:
        app.main(["sample", str(folder), "-n", "9", "-o", str(tmp_path / "name.png"), "--seed", "5", "--class", "mild"])
    by_name = (tmp_path / "name.png").read_bytes()
    assert not ended.value.code
    assert by_name == api.sample(folder, 9, tmp_path / "number.png", 5, "1").read_bytes()
    assert by_name == png(generate_of(network, 8, 5, torch.ones(9, dtype=torch.int64)))
    assert by_name != api.sample(folder, 9, tmp_path / "other.png", 5, "severe").read_bytes()
    mixed = api.sample(folder, 9, tmp_path / "mixed.png", 5).read_bytes()
    assert mixed == png(generate_of(network, 8, 5, sample_labels(5, 0, 9, SHARES))) != by_name


def test_a_class_that_is_not_there_is_refused_in_a_sentence(
    conditional: tuple[Path, torch.nn.Module], tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=r"did you mean 'severe'.*or its number, 0 to 2"):
        drawing.sample(conditional[0], 4, tmp_path / "grid.png", 0, "sever")


def test_an_unconditional_model_has_no_classes(written: tuple[Path, torch.nn.Module], tmp_path: Path) -> None:
    assert json.loads((written[0] / "model.json").read_bytes())["classes"] == []
    with pytest.raises(SpecError, match=r"^--class: .* draws no classes"):
        drawing.sample(written[0], 4, tmp_path / "grid.png", 0, "1")


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["normal", "mild"]},
        {"classes": []},
        {"network": {"name": "dcgan", "width": 4, "latent_dim": 8}},
    ],
    ids=["fewer names", "no names", "unconditional"],
)
def test_a_card_of_other_classes_than_the_weights_is_refused(
    change: dict[str, object], conditional: tuple[Path, torch.nn.Module]
) -> None:
    folder, _ = conditional
    card = json.loads((folder / "model.json").read_bytes())
    (folder / "model.json").write_text(json.dumps(card | change))
    with pytest.raises(SpecError, match=r"generator\.safetensors doesn't fit model\.json"):
        modelfolder.load_model(folder)


def test_conditional_weights_without_shares_are_refused(conditional: tuple[Path, torch.nn.Module]) -> None:
    folder, network = conditional
    state = {key: value for key, value in network.state_dict().items() if key != "shares"}
    weights = safetensors.torch.save(state)
    (folder / "generator.safetensors").write_bytes(weights)
    card = json.loads((folder / "model.json").read_bytes())
    (folder / "model.json").write_text(json.dumps(card | {"weights_sha256": hashlib.sha256(weights).hexdigest()}))
    with pytest.raises(SpecError, match="needs the classes' shares"):
        modelfolder.load_model(folder)


def test_without_the_package_onnx_the_rest_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "find_spec", lambda name: None)
    assert portable.onnx(generator("dcgan"), {"z": torch.zeros(2, 8)}) is None
