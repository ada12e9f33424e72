"""What claims to be vast, or is: records, checkpoints, weights, cards, pictures; each is refused soon, and says why."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from gansvc.catalog import torchfiles
from gansvc.errors import GansvcError, SpecError
from gansvc.gan import checkpoint
from gansvc.gan.networks import build_generator
from gansvc.report import build, drawing, provenance
from gansvc.report.model import Versions
from gansvc.store.folder import Folder

from ..builders.jobs import make_spec
from .artifacts import CARD, IDENTITY, WEIGHTS, began_anew
from .finished import ID, JSON, PROGRESS, RECORDS, looked_at, opened_with_job, restore
from .fuzzing import Yard, cases, places

OTHER = "small-20260101-000001-bbbb"


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    with opened_with_job(tmp_path_factory.mktemp("yard")) as yard:
        yield yard


# Records

deep: Any = 1
for _ in range(75):
    deep = {"a": [deep]}


def grown(value: Any, how: str) -> Any:
    """Return a value made vast in its own form, or in another."""
    if how == "digits":
        return 10**400
    if how == "deep":
        return deep
    if isinstance(value, dict) and value:
        return {f"{key}{i}": inner for key, inner in list(value.items())[:1] for i in range(20_000)} | value
    return value[:1] * 50_000 if isinstance(value, list) and value else "x" * 3_000_000


@cases(15)
@given(st.sampled_from(JSON), st.data(), st.sampled_from(("long", "long", "digits", "deep")))
def test_a_vast_record_is_shown_or_refused_soon(yard: Yard, name: str, data: st.DataObject, how: str) -> None:
    record = json.loads((yard.root / "kept" / ID / name).read_text())
    place = data.draw(st.sampled_from(places(record)[1:]))
    node = record
    for part in place[:-1]:
        node = node[part]
    node[place[-1]] = grown(node[place[-1]], how)
    (yard.jobs / ID / name).write_text(json.dumps(record))
    looked_at(yard)
    restore(yard)


@pytest.mark.parametrize("number", ["9" * 5_000, "9" * 400, "-1e999", "1" + "0" * 18 + "1", "NaN", "-Infinity"])
def test_a_number_of_many_digits_is_shown_or_refused(yard: Yard, number: str) -> None:
    for name in (*JSON, *RECORDS):
        path = yard.jobs / ID / name
        for field in ("seed", "started", "step", "steps", "submitted", "noise_floor_images", "critic_images"):
            path.write_text(path.read_text().replace(f'"{field}": ', f'"{field}": {number}'))
    looked_at(yard)
    restore(yard)


def changed_report(yard: Yard, identity: str, losses: int, seeds: int) -> None:
    """Write the report of a job of so many losses and seeds."""
    record = json.loads((yard.root / "kept" / ID / "report/report.json").read_text()) | {"job": identity}
    row = record["leaderboard"][0] | {"seeds": list(range(seeds))}
    for cell in row["metrics"].values():
        cell["values"] = {str(seed): 1.0 + seed for seed in range(seeds)}
    record["leaderboard"] = [row | {"label": f"loss{i}"} for i in range(losses)]
    (yard.jobs / identity / "report").mkdir(parents=True, exist_ok=True)
    (yard.jobs / identity / "report/report.json").write_text(json.dumps(record))


@pytest.mark.parametrize(("losses", "seeds"), [(1, 100_000), (20_000, 1), (100, 1_000), (1, 1_001)])
def test_a_report_of_more_seeds_or_losses_than_a_spec_can_have_is_not_compared(
    yard: Yard, losses: int, seeds: int
) -> None:
    changed_report(yard, OTHER, losses, seeds)
    ended = yard.run("compare", ID, OTHER)
    assert ended.code in (2, 3) and ("is not a Report" in ended.err or "can be compared" in ended.err)
    restore(yard)


def test_a_report_of_all_seeds_that_a_spec_can_have_is_compared(yard: Yard) -> None:
    changed_report(yard, OTHER, 3, 100)
    assert yard.run("compare", ID, OTHER).code == 0
    restore(yard)


def test_a_status_with_more_at_work_than_a_cluster_has_is_refused(yard: Yard) -> None:
    path = yard.jobs / ID / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"current": [PROGRESS] * 50_000}))
    ended = yard.run("status")
    assert ended.code == 3 and "current: must have at most 1000 items" in ended.err
    path.write_text(json.dumps(json.loads(path.read_text()) | {"current": [], "error": "e" * 3_000_000}))
    ended = yard.run("status")
    assert ended.code == 0 and len(ended.out) < 10_000
    restore(yard)


@pytest.mark.parametrize("name", [*RECORDS, "search/lsgan/trials.json", "train/lsgan-seed0/evaluations.jsonl"])
def test_a_report_is_built_of_no_vast_record(yard: Yard, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "current", lambda: Versions(python="3"))  # asks git
    path = yard.jobs / ID / name
    lines = (yard.root / "kept" / ID / name).read_text()
    first = json.loads(lines.splitlines()[0] if name.endswith("l") else lines)
    record = first[0] if isinstance(first, list) else first
    record["values" if "values" in record else "metrics" if "metrics" in record else "step"] = deep
    path.write_text(json.dumps([record] if isinstance(first, list) else record) + "\n")
    with yard.watched(), pytest.raises(GansvcError, match=r"is not a|line 1"):
        build.build(Folder(yard.jobs / ID), make_spec())
    restore(yard)


# Files of tensors


class Zeros:
    """What unpickles as so many zero bytes: torch's unpickler allows it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (bytearray, (2**33,))


def saved(state: Any, old: bool = False) -> bytes:
    file = io.BytesIO()
    content = {"format": 1, "step": 3, "identity": json.dumps(IDENTITY), "state": state, "rng": torch.get_rng_state()}
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


def inflating() -> bytes:
    """Return a checkpoint of some hundred kilobytes whose one tensor takes eight gigabytes."""
    whole = saved({"w": torch.zeros(1)})
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for member in archive.infolist():
            with target.open(member.filename, "w") as stream:
                stream.write(archive.read(member))
                for _ in range(256 if member.filename.endswith("/data/0") else 0):
                    stream.write(bytes(2**20))
    return file.getvalue()


def two_directories() -> bytes:
    """Return an archive with one directory where it says, and one where other readers look: before its end."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved({}))) as archive, zipfile.ZipFile(file, "w") as target:
        for member in archive.infolist():
            target.writestr(member.filename, archive.read(member))
    data = file.getvalue()
    size, start = struct.unpack_from("<II", data, len(data) - 10)
    return data[:-22] + data[start : start + size] + data[-22:]


BOMBS = {
    "deflated": inflating,
    "zero bytes": lambda: saved(Zeros()),
    "zero bytes, old form": lambda: saved(Zeros(), old=True),
    "one number repeated": lambda: saved({"w": torch.zeros(1).expand(10**12)}),
    "one number repeated, old form": lambda: saved({"w": torch.zeros(1).expand(10**12)}, old=True),
    "two directories": two_directories,
}
LIMITED = """
import resource, sys, torch
from gansvc.catalog import torchfiles
data = open(sys.argv[1], "rb").read()
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 2**28, taken + 2**28))
try:
    torchfiles.load(data)
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_that_takes_more_than_its_bytes_is_refused_unread(yard: Yard, bomb: str) -> None:
    data = BOMBS[bomb]()
    yard.clear()
    folder = Folder(yard.work)
    folder.write(f"step-00000003.{hashlib.sha256(data).hexdigest()[:16]}.pt", data)
    with yard.watched():
        assert began_anew(checkpoint.newest(folder, IDENTITY))
    path = yard.work / "weights.pth"
    path.write_bytes(data)
    with yard.watched(), pytest.raises(SpecError, match="doesn't fit this extractor"):
        torchfiles.read_weights(path)
    ended = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=False)
    assert ended.returncode == 0 and ended.stdout.startswith("it"), ended


def test_a_pickle_of_more_than_tensors_is_refused() -> None:
    with pytest.raises(ValueError, match="more than tensors"):
        torchfiles.load(saved(list(range(600_000))))


@pytest.mark.parametrize("old", [True, False])
def test_files_of_both_forms_are_read(old: bool) -> None:
    layer = torch.nn.Linear(2, 2)
    state = {"layer": layer.state_dict(), "moments": torch.optim.Adam(layer.parameters()).state_dict(), "seconds": 1.5}
    found = torchfiles.load(saved(state, old))
    assert torch.equal(found["state"]["layer"]["weight"], layer.weight)


# Model folders


def conditional(shares: torch.Tensor) -> dict[str, torch.Tensor]:
    from gansvc.catalog.networks import Dcgan

    network = build_generator(Dcgan(width=4, latent_dim=4, conditional=True), 3, 28, torch.tensor([0.5, 0.5]))
    return network.state_dict() | {"shares": shares}


TWO = {"classes": ["a", "b"], "shares": [0.5, 0.5]}
NETWORK = {"name": "dcgan", "width": 4, "latent_dim": 4}
FOLDERS: dict[str, tuple[dict[str, Any], dict[str, torch.Tensor] | None]] = {
    "a size that the network doesn't make": ({"network": NETWORK | {"name": "resnet"}, "size": 31}, None),
    "a vast size": ({"network": NETWORK | {"name": "resnet"}, "size": 10**9}, None),
    "no channels": ({"channels": 0}, None),
    "a thousand million channels": ({"channels": 10**9}, None),
    "a vast network": ({"network": NETWORK | {"width": 512, "latent_dim": 1024}}, None),
    "shares in two dimensions": (TWO | {"network": NETWORK | {"conditional": True}}, conditional(torch.ones(2, 2) / 4)),
    "a single number for shares": (TWO | {"network": NETWORK | {"conditional": True}}, conditional(torch.ones(()))),
    "shares below nought": (TWO | {"network": NETWORK | {"conditional": True}}, conditional(torch.tensor([2.0, -1.0]))),
    "a million shares": (TWO | {"network": NETWORK | {"conditional": True}}, conditional(torch.ones(10**6))),
    "a million classes": ({"classes": ["a"] * 10**6}, None),
    "a million limits": ({"limits": ["a"] * 10**6}, None),
    "deep values": ({"loss": deep}, None),
    "a card that is large": ({"licence": "x" * 10**7}, None),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_vast_or_impossible_model_is_refused_soon(yard: Yard, name: str) -> None:
    changes, state = FOLDERS[name]
    yard.clear()
    (yard.work / "model.json").write_text(json.dumps(CARD | changes))
    (yard.work / "generator.safetensors").write_bytes(safetensors.torch.save(state) if state else WEIGHTS)
    for command in (("sample", ".", "-n", "2"), ("evaluate", ".")):
        ended = yard.run(*command)
        assert ended.code == 2 and "pull" in ended.err, ended


def test_a_model_that_is_a_pipe_or_sparse_is_refused(yard: Yard) -> None:
    import os

    yard.clear()
    (yard.work / "model.json").write_text(json.dumps(CARD))
    os.mkfifo(yard.work / "generator.safetensors")
    assert yard.run("sample", ".").code == 2
    (yard.work / "generator.safetensors").unlink()
    with open(yard.work / "generator.safetensors", "wb") as file:
        file.truncate(2**36)
    assert yard.run("sample", ".").code == 2
    yard.clear()


# Pictures


def test_a_picture_that_is_vast_is_not_unpacked() -> None:
    side = 13_000
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(100)) + packer.flush()
    parts = [(b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    with pytest.raises(ValueError, match="13000 x 13000"):
        drawing.decode_png(png)
