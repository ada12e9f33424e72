"""What a pod sends as an archive: plain files with safe names are handed on, and no claim of a header is believed."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from gansvc.client.kuberay import archive
from gansvc.errors import ClusterError
from gansvc.store.delivery import deliver


def member(name: str, data: bytes = b"x", **fields: object) -> bytes:
    """Return one member of an archive: its header and its content."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    padded = data + bytes(-len(data) % 512)
    return info.tobuf(tarfile.GNU_FORMAT) + padded


def taken(data: bytes, piece: int = 10_000) -> dict[str, bytes]:
    """Return what is handed on of an archive that arrives in pieces of so many bytes."""
    found: dict[str, bytes] = {}

    def put(name: str, size: int, content: Callable[[], Iterable[bytes]]) -> None:
        found[name] = b"".join(content())
        assert len(found[name]) == size

    count = archive.unpack((data[at : at + piece] for at in range(0, len(data), piece)), put)
    assert count == len(found)
    return found


END = bytes(10240)


@pytest.mark.parametrize("piece", [1, 511, 10_000, 10**7])
def test_an_archive_is_handed_on_file_by_file(piece: int) -> None:
    long = bytes(range(256)) * (100 if piece == 1 else 10_000)
    data = member("./", b"", type=tarfile.DIRTYPE) + member("./a", long) + member("./b/c", b"") + member("d") + END
    assert taken(data, piece) == {"a": long, "b/c": b"", "d": b"x"}


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "./.ssh/authorized_keys", ".bashrc", "a\nb"])
def test_a_member_that_hides_or_leads_out_is_left_out(tmp_path: Path, name: str) -> None:
    data = member(name, b"evil" * 1000) + member("./good") + END
    with deliver(tmp_path / "in", "a-job") as delivery:
        assert archive.unpack(iter((data,)), delivery.put) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "in" / "good"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_member_that_is_no_plain_file_is_refused(kind: bytes) -> None:
    with pytest.raises(ClusterError, match="a on the volume is a link or no plain file; delete it there"):
        taken(member("./a", b"", type=kind, linkname="/etc/passwd") + END)


def pax(size: int, data: bytes = b"") -> bytes:
    return member("././@PaxHeader", data, type=tarfile.XHDTYPE, size=size)


LIES = {
    "a file": member("a", b"x", size=8 * 2**30),
    "a file within the limit": member("a", b"x", size=2**33 // 2),
    "a long name": member("././@LongLink", b"x", type=tarfile.GNUTYPE_LONGNAME, size=8 * 2**30),
    "a pax header": pax(8 * 2**30, b"x"),
    "more than any file": member("a", b"x", size=2**60),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_small_archive_that_claims_gigabytes_costs_nothing(tmp_path: Path, lie: str) -> None:
    tracemalloc.start()
    try:
        refused = pytest.raises(ClusterError, match=r"can't be unpacked|of such a file at most")
        with refused, deliver(tmp_path / "in", "a-job") as delivery:
            archive.unpack(iter((LIES[lie] + END,)), lambda name, size, content: delivery.put(name, 0, content))
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_header_that_really_has_gigabytes_is_cut_off(kind: bytes) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield member("a", b"", type=kind, size=8 * 2**30)
        while True:
            sent += 50_000
            yield b"x" * 50_000

    with pytest.raises(ClusterError, match="headers that no job's files have"):
        archive.unpack(endless(), lambda *file: None)
    assert sent < 10**6


def test_what_comes_after_the_end_is_read_to_hear_of_a_failure() -> None:
    def cut() -> Iterator[bytes]:
        yield member("a") + END
        raise ClusterError("the connection was lost")

    with pytest.raises(ClusterError, match="the connection was lost"):
        archive.unpack(cut(), lambda name, size, content: None)


def test_what_is_to_be_left_out_is_whatever_the_pod_sends() -> None:
    found: list[str] = []
    data = member("./status.json") + member("./train/a") + member("./report/status.json") + END
    archive.unpack(iter((data,)), lambda name, size, content: found.append(name), ("status.json", "train"))
    assert found == ["report/status.json"]


def test_a_sparse_member_is_refused() -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as made:
        info = tarfile.TarInfo("a")
        about = {"major": "0", "minor": "1", "map": "0,0", "size": str(2**40)}
        info.pax_headers = {f"GNU.sparse.{field}": value for field, value in about.items()}
        made.addfile(info, io.BytesIO(b""))
    with pytest.raises(ClusterError, match=r"no plain file|at most"):
        taken(data.getvalue())
