"""Downloads from a real server on this machine: cut off, corrupt, stalled, refused at first, wanted by four at once."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from gansvc.catalog import downloads, published
from gansvc.catalog.datasets import Dataset
from gansvc.catalog.extractors import EXTRACTORS, Extractor
from gansvc.errors import ClusterError, SpecError

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
ADVICE = "put the file there"


@dataclass
class Server:
    """A server of one file, and what may go wrong with it: each entry of ``faults`` serves one request, in turn."""

    url: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    faults: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Path and Range of every request."""
    over: Event = field(default_factory=Event)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("GANSVC_MIRROR", raising=False)
    monkeypatch.setattr(downloads, "PAUSES", (0.0, 0.0))
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            state.asked.append((self.path, wanted))
            fault = state.faults.pop(0) if state.faults else ""
            if fault.isdigit():
                self.send_error(int(fault))
                return
            first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges else 0
            if first and first >= len(state.content):
                self.send_error(416)
                return
            body = state.content[first:]
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if fault in ("cut", "stall"):
                self.wfile.write(body[:100_000])
                self.wfile.flush()
                state.over.wait(20 if fault == "stall" else 0)
                self.close_connection = True
                return
            if fault == "slow":
                state.over.wait(1.5)
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}"
        thread = Thread(target=http.serve_forever)
        thread.start()
        yield state
        state.over.set()
        http.shutdown()
        thread.join()


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_a_file_is_fetched_once_under_its_own_name(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "new" / "set.npz"
    for _ in range(2):
        downloads.fetch(f"{server.url}/files/set.npz?download=1", path, MD5, ADVICE)
    assert path.read_bytes() == CONTENT and left(path.parent) == {"set.npz"}
    assert server.asked == [("/files/set.npz?download=1", "")]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_is_gone_on_with_or_begun_anew(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.faults, server.ranges = ["cut", "cut"], ranges
    downloads.fetch(f"{server.url}/set.npz", tmp_path / "set.npz", MD5, ADVICE)
    assert (tmp_path / "set.npz").read_bytes() == CONTENT
    expected = ["", "bytes=100000-", "bytes=200000-" if ranges else "bytes=100000-"]
    assert [wanted for _, wanted in server.asked] == expected


def test_what_a_dead_process_left_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".set.npz.part").write_bytes(CONTENT[:12_345])
    downloads.fetch(f"{server.url}/set.npz", tmp_path / "set.npz", MD5, ADVICE)
    assert (tmp_path / "set.npz").read_bytes() == CONTENT and server.asked == [("/set.npz", "bytes=12345-")]


@pytest.mark.parametrize("left_over", [b"x" * 12_345, CONTENT + b"more", CONTENT, b""])
def test_what_an_earlier_try_left_is_never_taken_for_the_file_unless_it_is(
    server: Server, tmp_path: Path, left_over: bytes
) -> None:
    (tmp_path / ".set.npz.part").write_bytes(left_over)
    downloads.fetch(f"{server.url}/set.npz", tmp_path / "set.npz", MD5, ADVICE)
    assert (tmp_path / "set.npz").read_bytes() == CONTENT and left(tmp_path) == {"set.npz"}


@pytest.mark.parametrize("digest", [MD5, "0" * 32], ids=["the right file", "another file"])
@pytest.mark.parametrize("planted", [".set.npz.part", ".set.npz.lock"])
@pytest.mark.parametrize("kind", ["a link", "a link to nothing", "a hard link"])
def test_a_download_writes_through_no_planted_link(
    server: Server, tmp_path: Path, digest: str, planted: str, kind: str
) -> None:
    (tmp_path / "home").mkdir()
    target, here = tmp_path / "home" / "file", tmp_path / "root"
    here.mkdir()
    if kind != "a link to nothing":
        target.write_text("mine")
    (here / planted).hardlink_to(target) if kind == "a hard link" else (here / planted).symlink_to(target)
    with nullcontext() if digest == MD5 and planted.endswith("part") else suppress(ClusterError):
        downloads.fetch(f"{server.url}/set.npz", here / "set.npz", digest, ADVICE)
        assert digest == MD5 and (here / "set.npz").read_bytes() == CONTENT
    assert (target.read_text() == "mine") if kind != "a link to nothing" else not target.exists()


def test_a_part_that_others_can_write_is_begun_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".set.npz.part").write_bytes(CONTENT[:12_345])
    (tmp_path / ".set.npz.part").chmod(0o666)
    downloads.fetch(f"{server.url}/set.npz", tmp_path / "set.npz", MD5, ADVICE)
    assert server.asked == [("/set.npz", "")] and not (tmp_path / "set.npz").stat().st_mode & 0o022


def test_a_connection_that_stays_cut_fails_and_leaves_no_file(server: Server, tmp_path: Path) -> None:
    server.faults, server.ranges = ["cut"] * 3, False
    with pytest.raises(ClusterError, match=f"^{ADVICE} .*the connection ended after 100000 of 300000 bytes"):
        downloads.fetch(f"{server.url}/set.npz", tmp_path / "set.npz", MD5, ADVICE)
    assert left(tmp_path) == {".set.npz.part"} and len(server.asked) == 3


def test_a_stalled_connection_is_given_up_and_gone_on_with(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(downloads, "STALL", 0.3)
    server.faults = ["stall"]
    downloads.fetch(f"{server.url}/set.npz", tmp_path / "set.npz", MD5, ADVICE)
    assert (tmp_path / "set.npz").read_bytes() == CONTENT
    assert server.asked[1] == ("/set.npz", "bytes=100000-") and "another try" in capsys.readouterr().err


def test_a_slow_download_shows_how_far_it_is(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(downloads, "TOLD", -1.0)
    downloads.fetch(f"{server.url}/set.npz", tmp_path / "set.npz", MD5, ADVICE)
    captured = capsys.readouterr()
    assert "set.npz: 0.3 of 0.3 MB" in captured.err and captured.out == ""


@pytest.mark.parametrize("code", ["503", "429", "500"])
def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path, code: str) -> None:
    server.faults = [code, code]
    downloads.fetch(f"{server.url}/set.npz", tmp_path / "set.npz", MD5, ADVICE)
    assert (tmp_path / "set.npz").is_file() and len(server.asked) == 3


def test_a_server_that_stays_busy_or_lacks_the_file_fails(server: Server, tmp_path: Path) -> None:
    server.faults = ["503"] * 3
    with pytest.raises(ClusterError, match="the server answers 503"):
        downloads.fetch(f"{server.url}/set.npz", tmp_path / "set.npz", MD5, ADVICE)
    server.faults, server.asked = ["404"], []
    with pytest.raises(ClusterError, match="404"):
        downloads.fetch(f"{server.url}/set.npz", tmp_path / "set.npz", MD5, ADVICE)
    assert len(server.asked) == 1 and left(tmp_path) == set()


def test_a_corrupt_file_is_refused_and_deleted(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    corrupt = hashlib.md5(server.content, usedforsecurity=False).hexdigest()
    with pytest.raises(ClusterError, match=f"has MD5 {corrupt}, not {MD5}; what came was deleted"):
        downloads.fetch(f"{server.url}/set.npz", tmp_path / "set.npz", MD5, ADVICE)
    assert left(tmp_path) == set()


def test_four_processes_download_it_once(server: Server, tmp_path: Path) -> None:
    server.faults = ["slow"]
    code = (
        "import sys; from pathlib import Path; from gansvc.catalog import downloads\n"
        "downloads.fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3], 'x'); print(Path(sys.argv[2]).stat().st_size)"
    )
    command = [sys.executable, "-c", code, f"{server.url}/set.npz", str(tmp_path / "set.npz"), MD5]
    four = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=60)[0] for process in four] == ["300000\n"] * 4
    assert len(server.asked) == 1 and left(tmp_path) == {"set.npz"}


def test_the_one_who_downloads_may_be_killed(server: Server, tmp_path: Path) -> None:
    server.faults = ["stall"]
    code = (
        "import sys; from pathlib import Path; from gansvc.catalog import downloads\n"
        "downloads.fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3], 'x')"
    )
    command = [sys.executable, "-c", code, f"{server.url}/set.npz", str(tmp_path / "set.npz"), MD5]
    first = subprocess.Popen(command)
    part = tmp_path / ".set.npz.part"
    deadline = time.monotonic() + 30
    while not (part.is_file() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    first.kill()
    first.wait()
    assert not (tmp_path / "set.npz").exists()
    downloads.fetch(f"{server.url}/set.npz", tmp_path / "set.npz", MD5, ADVICE)
    assert (tmp_path / "set.npz").read_bytes() == CONTENT and server.asked[1][1].startswith("bytes=")


@pytest.mark.parametrize("form", ["address", "folder", "file URI"])
def test_a_mirror_stands_in_for_the_place(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "set.npz").write_bytes(CONTENT)
    place = {"address": f"{server.url}/m/", "folder": str(tmp_path / "mirror")}.get(form, f"file://{tmp_path}/mirror")
    monkeypatch.setenv("GANSVC_MIRROR", place)
    downloads.fetch("https://example.invalid/files/set.npz?download=1", tmp_path / "set.npz", MD5, ADVICE)
    assert (tmp_path / "set.npz").read_bytes() == CONTENT
    assert server.asked == ([("/m/set.npz", "")] if form == "address" else [])


@pytest.mark.parametrize("mirror", ["nonsense://x", "ftp://127.0.0.1:9/", "/nowhere", "http://"])
def test_a_mirror_that_is_none_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: str) -> None:
    monkeypatch.setenv("GANSVC_MIRROR", mirror)
    with pytest.raises(ClusterError, match=f"^{ADVICE} .the download failed"):
        downloads.fetch("https://example.invalid/set.npz", tmp_path / "set.npz", MD5, ADVICE)


def test_a_folder_that_cannot_be_written_is_one_sentence(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ClusterError, match=f"^{ADVICE} "):
        downloads.fetch(f"{server.url}/set.npz", tmp_path / "file" / "set.npz", MD5, ADVICE)


# --- what is downloaded ---------------------------------------------------------------------------------------------


def test_weights_come_by_the_same_way_and_only_where_they_are_missing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("GANSVC_MIRROR", server.url)
    extractor = Extractor(name="inception-v3")
    with pytest.raises(ClusterError, match=r"has SHA256 [0-9a-f]{64}, not 6726825d"):
        extractor.at_hand()
    assert not extractor.weights_file().exists()
    extractor.weights_file().write_bytes(b"mine")
    assert extractor.at_hand().read_bytes() == b"mine"
    digits = hashlib.sha256(CONTENT).hexdigest()[:8]
    name = f"weights-{digits}.pth"
    entry = EXTRACTORS["inception-v3"]
    fake = {"url": f"https://example.invalid/{name}", "sha256": digits, "default_weights": lambda: tmp_path / name}
    monkeypatch.setitem(EXTRACTORS, "inception-v3", type(entry)(**(vars(entry) | fake)))
    assert extractor.at_hand().read_bytes() == CONTENT
    assert server.asked[-1] == (f"/{name}", "")
    with pytest.raises(SpecError, match="the weights of inception-v3"):
        Extractor(name="inception-v3", weights=str(tmp_path / "none.pth")).at_hand()


def idx(magic: int, *shape: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in (magic, *shape)) + bytes(int(np.prod(shape)))


def test_mnist_is_fetched_file_by_file_and_a_half_file_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import MNIST

    mirror, root = tmp_path / "mirror", tmp_path / "root"
    mirror.mkdir()
    resources = []
    for name, _ in MNIST.resources:
        count = 60_000 if name.startswith("train") else 10_000
        packed = gzip.compress(idx(0x803, count, 28, 28) if "images" in name else idx(0x801, count), 1)
        (mirror / name).write_bytes(packed)
        resources.append((name, hashlib.md5(packed, usedforsecurity=False).hexdigest()))
    monkeypatch.setattr(MNIST, "resources", resources)
    monkeypatch.setenv("GANSVC_MIRROR", str(mirror))
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / ".train-images-idx3-ubyte.gz.part").write_bytes(b"x")
    read = published.read_mnist(root)
    assert {split: images.shape for split, images in read.images.items()} == {
        "train": (50_000, 28, 28), "val": (10_000, 28, 28), "test": (10_000, 28, 28),
    }  # fmt: skip
    assert Dataset(name="mnist", root=str(root)).missing() is None
    assert not list(raw.glob("*.part")) + list(raw.glob(".*.part"))
    whole = (raw / "t10k-images-idx3-ubyte").read_bytes()
    (raw / "t10k-images-idx3-ubyte").write_bytes(whole[:-1])
    with pytest.raises(SpecError, match=r"MNIST's files in .* are damaged"):
        published.read_mnist(root)
    (raw / "t10k-images-idx3-ubyte").unlink()
    (raw / "t10k-images-idx3-ubyte.gz").write_bytes(b"cut off")
    with pytest.raises(SpecError, match=r"t10k-images-idx3-ubyte[.]gz has MD5"):
        published.read_mnist(root)
