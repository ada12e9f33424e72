"""Checkpoints that were cut off, changed, forged or are another run's: refused with a reason, and nothing runs."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from gansvc.errors import ClusterError, RunError
from gansvc.gan import checkpoint, modelfolder
from gansvc.store import layout
from gansvc.store.folder import Folder
from gansvc.store.records import RunRecord

from ..object_storage import Gate

IDENTITY: dict[str, object] = {"loss": {"name": "wgan", "critic_lr": 5e-5}, "seed": 3}
WEIGHTS = {"layer.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4), "layer.bias": torch.ones(3)}


def state(step: int) -> dict[str, Any]:
    return {"players": {"weight": torch.full((20,), float(step))}, "seconds": 1.5, "objectives": [0.5]}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a folder with the checkpoints of steps 5 and 9."""
    here = Folder(tmp_path / "checkpoints")
    for step in (1, 5, 9):
        checkpoint.save(here, step, state(step), IDENTITY)
    return here


def files(folder: Folder) -> list[Path]:
    return sorted(Path(folder.uri).glob("step-*.pt"))


def signed(folder: Folder, step: int, data: bytes) -> Path:
    """Write any content under a name that tells of it rightly."""
    folder.write(name := f"step-{step:08d}.{hashlib.sha256(data).hexdigest()[:16]}.pt", data)
    return Path(folder.path(name))


def packed(content: object) -> bytes:
    torch.save(content, buffer := io.BytesIO())
    return buffer.getvalue()


# --- damage ---------------------------------------------------------------------------------------------------------


def test_the_newest_is_found_and_the_one_before_is_kept(folder: Folder) -> None:
    assert [int(path.name[5:13]) for path in files(folder)] == [5, 9]
    found = checkpoint.newest(folder, IDENTITY)
    assert found is not None and found[0] == 9 and found[2] == []
    assert torch.equal(found[1]["players"]["weight"], torch.full((20,), 9.0))
    assert checkpoint.newest(folder / "none", IDENTITY) is None


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99, 0.9999])
def test_a_checkpoint_that_was_cut_off_is_passed_over(folder: Folder, share: float) -> None:
    path = files(folder)[-1]
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    found = checkpoint.newest(folder, IDENTITY)
    assert found is not None and found[0] == 5
    assert found[2] == [f"{path} is damaged; went on from the checkpoint before it"]


def test_a_checkpoint_with_any_one_bit_changed_is_passed_over(folder: Folder) -> None:
    path, draw = files(folder)[-1], random.Random(0)
    whole = path.read_bytes()
    for position in [0, len(whole) - 1, *draw.sample(range(len(whole)), 200)]:
        data = bytearray(whole)
        data[position] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(data))
        found = checkpoint.newest(folder, IDENTITY)
        assert found is not None and (found[0], len(found[2])) == (5, 1), f"byte {position}"
    path.write_bytes(whole)
    assert (checkpoint.newest(folder, IDENTITY) or [0])[0] == 9


def test_where_all_are_damaged_the_run_begins_anew_and_says_so(folder: Folder) -> None:
    for path in files(folder):
        path.write_bytes(b"")
    found = checkpoint.newest(folder, IDENTITY)
    assert found is not None and found[:2] == (0, {})
    assert len(found[2]) == 2 and all("none before it is whole; began anew" in warning for warning in found[2])


def test_a_new_checkpoint_is_never_given_up_for_a_damaged_one(folder: Folder) -> None:
    for path in files(folder)[1:]:
        path.write_bytes(path.read_bytes()[:-1])
    signed(folder, 12, b"damaged too")
    for step in (6, 7):
        checkpoint.save(folder, step, state(step), IDENTITY)
        found = checkpoint.newest(folder, IDENTITY)
        assert found is not None and found[0] == step and found[2] == []
    assert [int(path.name[5:13]) for path in files(folder)] == [6, 7]


# --- other runs and forgeries ---------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_run_is_refused_with_the_differences(folder: Folder) -> None:
    other = {"loss": {"name": "wgan", "critic_lr": 1e-3}, "seed": 3, "new": 1}
    with pytest.raises(RunError) as caught:
        checkpoint.newest(folder, other)
    told = str(caught.value)
    assert str(files(folder)[-1]) in told and "loss.critic_lr: 5e-05 there, 0.001 here" in told
    assert "new: nothing there, 1 here" in told and "seed" not in told and "name" not in told


class Attack:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.target,)


def attacks(target: Path) -> dict[str, bytes]:
    attack, content = Attack(target), {"format": 1, "step": 20, "identity": json.dumps(IDENTITY), "state": state(20)}
    content["rng"] = torch.get_rng_state()
    return {
        "plain pickle": pickle.dumps(attack),
        "in torch's archive": packed(attack),
        "in torch's older form": packed_old(attack),
        "as the state": packed(content | {"state": {"players": attack}}),
        "as the identity": packed(content | {"identity": attack}),
        "as a global": b"cposix\nsystem\n(S'touch " + str(target).encode() + b"'\ntR.",
        "as eval": b"cbuiltins\neval\n(Vopen(" + repr(str(target)).encode() + b", 'w')\ntR.",
    }


def packed_old(content: object) -> bytes:
    torch.save(content, buffer := io.BytesIO(), _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", list(attacks(Path("x"))))
def test_a_malicious_checkpoint_runs_nothing(folder: Folder, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "executed"
    path = signed(folder, 20, data := attacks(target)[kind])
    found = checkpoint.newest(folder, IDENTITY)
    assert not target.exists(), "it ran"
    assert found is not None and found[0] == 9
    assert found[2] == [f"{path} is damaged; went on from the checkpoint before it"]
    # The control: who trusts such a file does run it.
    torch.load(io.BytesIO(data), weights_only=False) if "torch" in kind or "as the" in kind else pickle.loads(data)
    assert target.exists()


def forged() -> dict[str, object]:
    good: dict[str, object] = {"format": 1, "step": 20, "identity": json.dumps(IDENTITY), "state": state(20)}
    good["rng"] = torch.get_rng_state()
    return {
        "a list": [good],
        "another format": good | {"format": 2},
        "another step": good | {"step": 21},
        "a step that is no number": good | {"step": "20"},
        "no state": {name: value for name, value in good.items() if name != "state"},
        "a state that is none": good | {"state": [1]},
        "no identity": good | {"identity": None},
        "an identity that is no JSON": good | {"identity": "{"},
        "an identity that is a list": good | {"identity": "[]"},
        "no generator": good | {"rng": None},
        "a generator of another size": good | {"rng": torch.zeros(3, dtype=torch.uint8)},
        "a generator of another type": good | {"rng": torch.get_rng_state().float()},
    }


@pytest.mark.parametrize("kind", list(forged()))
def test_a_rightly_named_file_of_another_form_is_passed_over(folder: Folder, kind: str) -> None:
    signed(folder, 20, packed(forged()[kind]))
    before = torch.get_rng_state()
    found = checkpoint.newest(folder, IDENTITY)
    assert found is not None and found[0] == 9 and len(found[2]) == 1
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("data", [b"", b"\x80", b"PK\x03\x04", b"PK\x03\x04" + bytes(100), bytes(5000), b"\x80\x02."])
def test_a_rightly_named_file_of_rubbish_is_passed_over(folder: Folder, data: bytes) -> None:
    signed(folder, 20, data)
    found = checkpoint.newest(folder, IDENTITY)
    assert found is not None and found[0] == 9 and len(found[2]) == 1


# --- the best generator, and the model that is pulled ---------------------------------------------------------------


@pytest.fixture
def best(tmp_path: Path) -> Folder:
    here = Folder(tmp_path / "train" / "wgan-seed3" / "checkpoints")
    checkpoint.save_best(here, WEIGHTS, 7, 0.5)
    return here


def test_the_best_generator_comes_back(best: Folder) -> None:
    found = checkpoint.load_best(best)
    assert checkpoint.best_digest(best) and found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


def test_the_best_generator_of_an_earlier_version_has_no_digest(best: Folder) -> None:
    best.write(layout.BEST, safetensors.torch.save(WEIGHTS, {"step": "7", "objective": "0.5"}))
    assert checkpoint.best_digest(best) and torch.equal(checkpoint.load_best(best)["layer.bias"], torch.ones(3))


def test_a_damaged_best_generator_names_its_run_and_is_no_best(best: Folder) -> None:
    path, draw = Path(best.path(layout.BEST)), random.Random(0)
    whole = path.read_bytes()
    payload = 8 + int.from_bytes(whole[:8], "little")
    flipped = []
    for position in [*range(payload, len(whole)), *draw.sample(range(payload), 40)]:
        data = bytearray(whole)
        data[position] ^= 1 << draw.randrange(8)
        flipped.append((position, bytes(data)))
    for position, content in [*flipped, (0, b""), (0, whole[:7]), (0, whole[:payload]), (0, whole[:-1])]:
        path.write_bytes(content)
        if position and position < payload and checkpoint.best_digest(best):
            # A bit of the header that tells nothing of the weights, as of the score.
            assert all(torch.equal(tensor, WEIGHTS[name]) for name, tensor in checkpoint.load_best(best).items())
            continue
        assert not checkpoint.best_digest(best), f"byte {position}"
        with pytest.raises(ClusterError, match=r"wgan-seed3/checkpoints/best.safetensors is damaged \(.*\); resume"):
            checkpoint.load_best(best)
    path.unlink()
    assert not checkpoint.best_digest(best)
    with pytest.raises(ClusterError, match="is missing; resume the job to train that run again"):
        checkpoint.load_best(best)


def test_the_best_generator_of_another_network_is_told(best: Folder, tiny: Callable[..., Any]) -> None:
    with pytest.raises(ClusterError, match=r"best.safetensors is of another network \(.*Missing key"):
        modelfolder.load_best_generator(tiny(), 3, best)


# --- a kill in the middle of an upload ------------------------------------------------------------------------------

WRITER = """
import sys, torch
from gansvc.gan import checkpoint
from gansvc.store.records import RunRecord
from gansvc.store.folder import Folder
checkpoint.save(Folder(sys.argv[1]), 4, {"weight": torch.zeros(4000000)}, {"seed": 0})
"""


def test_an_interrupted_upload_leaves_the_checkpoint_before_it(gate: Gate, bucket: str) -> None:
    # 16 MB go up in two parts: the writer is killed when the second one is on its way.
    folder = Folder(f"s3://{bucket}/checkpoints")
    checkpoint.save(folder, 3, {"weight": torch.zeros(3)}, {"seed": 0})
    sent, killed = threading.Event(), threading.Event()

    def hold() -> None:
        sent.set()
        killed.wait(300)

    gate.before(r"^PUT .*/step-00000004\..*partNumber=2", hold)
    command = [sys.executable, "-c", WRITER, folder.uri]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as writer:
        assert sent.wait(300), gate.seen
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    killed.set()
    assert any(re.search(r"^POST .*/step-00000004\..*\?uploads", line) for line in gate.seen)
    assert [name[:13] for name in folder.names()] == ["step-00000003"]
    found = checkpoint.newest(folder, {"seed": 0})
    assert found is not None and found[0] == 3 and found[2] == []


def test_a_run_that_is_over_is_compared_with_what_is_asked_for(tmp_path: Path) -> None:
    folder, record = Folder(tmp_path), RunRecord(label="wgan", seed=3, values={}, state="finished")
    assert checkpoint.run_record(folder, IDENTITY) is None
    folder.write_record("run.json", record.model_copy(update={"identity": IDENTITY}))
    assert checkpoint.run_record(folder, IDENTITY) == record.model_copy(update={"identity": IDENTITY})
    with pytest.raises(RunError, match=r"run\.json is of another run \(seed: 3 there, 4 here\)"):
        checkpoint.run_record(folder, IDENTITY | {"seed": 4})
    folder.write_record("run.json", record)
    with pytest.raises(RunError, match="an earlier gansvc wrote it; submit the job anew"):
        checkpoint.run_record(folder, IDENTITY)


def test_a_checkpoint_without_a_hash_of_the_content_is_gone_on_with_and_says_so(folder: Folder) -> None:
    found = checkpoint.newest(folder, IDENTITY | {"data": {"train_images": "a" * 64}})
    assert found is not None and found[0] == 9
    assert len(found[2]) == 1 and "had no hash of train_images" in found[2][0]
    checkpoint.save(folder, 10, state(10), IDENTITY | {"data": {"train_images": "a" * 64}})
    with pytest.raises(RunError, match=r"data\.train_images: aaaaaaaaaaaa there, bbbbbbbbbbbb here"):
        checkpoint.newest(folder, IDENTITY | {"data": {"train_images": "b" * 64}})
