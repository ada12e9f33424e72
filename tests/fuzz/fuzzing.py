"""What the property-based tests share: how many cases, a yard to run commands in, and what must hold of every command.

GANSVC_FUZZ=long draws more and other cases at each run; without it they are few and the same ones at every run.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import shutil
import socket
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from unittest import mock

import hypothesis.configuration
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from gansvc.catalog import downloads
from gansvc.cli import app
from gansvc.client import local
from gansvc.errors import ClusterError

F = TypeVar("F", bound=Callable[..., Any])

LONG = os.environ.get("GANSVC_FUZZ") == "long"
SHRINK = os.environ.get("GANSVC_FUZZ_SHRINK") == "yes"
SECONDS = 5.0
"""Processor time of one case, at most: a wall clock would count what else the machine does."""
HANGS = 300.0
"""Seconds after which a case that waits for something is ended, with a traceback."""
LONGEST, MOST = 1500, 25
"""Characters of a line on stderr, and lines."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
_HERE = (None, "127.0.0.1", "::1", "localhost", b"127.0.0.1", b"localhost")
_STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty"}
# What moves a terminal's cursor, recolours it, turns its text around, can't be seen, or can't be written as UTF-8.
_DRIVING = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_LET_THROUGH = "\n\t\u200c\u200d"

hypothesis.configuration.set_hypothesis_home_dir(tempfile.gettempdir() + "/gansvc-hypothesis")


def cases(short: int, factor: int = 12) -> Callable[[F], F]:
    """Return the settings of a test of so many cases; the long mode has ``factor`` times as many."""
    return settings(
        max_examples=short * factor if LONG else short,
        derandomize=not LONG,
        database=None,
        deadline=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if SHRINK else [])],
    )


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str


@dataclass
class Yard:
    """A folder with a home, a storage and a working folder; a command may write nowhere else, and start nothing.

    No machine answers in it, this one included, and other machines may be asked only where a case allows it.
    """

    root: Path
    misdeeds: list[str] = field(default_factory=list)
    asks: bool = False
    """Whether other machines may be asked just now."""

    @property
    def work(self) -> Path:
        """The working folder."""
        return self.root / "work"

    @property
    def jobs(self) -> Path:
        """The storage of jobs."""
        return self.root / "jobs"

    def files(self) -> dict[str, bytes | None]:
        """Return the content of every file here, None for folders."""
        paths = sorted(self.root.rglob("*"))
        return {str(path): path.read_bytes() if path.is_file() else None for path in paths}

    def clear(self, folder: Path | None = None) -> None:
        """Empty a folder, the working folder if none is named; it stays itself, since it is the process's own."""
        for path in (folder or self.work).iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def variables(self) -> dict[str, str]:
        """Return the environment that keeps commands in here."""
        names = {"HOME": "home", "GANSVC_STORAGE": "jobs", "GANSVC_HOME": "state", "GANSVC_CACHE": "cache"}
        names |= {"GANSVC_CONFIG": "home/config.yaml", "KUBECONFIG": "home/kubeconfig"}
        return {variable: str(self.root / name) for variable, name in names.items()}

    def run(self, *args: str, stdin: bytes = b"", asks: bool = False) -> Ended:
        """Run a command line in this process, and make sure of all that holds of every one."""
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")
        given = mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with self.watched(asks), given, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                app.main(args)
            except SystemExit as exit_:
                code = exit_.code if isinstance(exit_.code, int) else 0
            else:
                raise AssertionError("the command did not exit")
            out.flush()
            err.flush()
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
        ended = Ended(args, code, *texts)
        _sound(ended)
        return ended

    @contextlib.contextmanager
    def watched(self, asks: bool = False) -> Iterator[None]:
        """Watch what is done meanwhile, and how long it takes."""
        self.misdeeds.clear()
        assert sys.__stderr__ is not None
        faulthandler.dump_traceback_later(HANGS, exit=True, file=sys.__stderr__)
        began, self.asks = time.process_time(), asks
        _watch[0] = self
        try:
            with mock.patch.dict(os.environ, self.variables()):
                yield
        finally:
            _watch[0] = None
            faulthandler.cancel_dump_traceback_later()
        assert self.misdeeds == []
        assert time.process_time() - began < SECONDS, "it took too long"

    def note(self, event: str, args: tuple[Any, ...]) -> None:
        """Take one of Python's audit events."""
        if event == "open" and (set(str(args[1] or "")) & set("wax+") or (args[2] or 0) & _WRITES):
            self._wrote(event, args[0])
        elif event in _CHANGES:
            for path in args[: 2 if event in ("os.rename", "os.link") else 1]:
                self._wrote(event, path)
        elif event in _STARTS or event == "pickle.find_class":
            self.misdeeds.append(f"{event} {args!r:.200}")
            raise PermissionError(f"{event} in a property-based test")
        elif event == "socket.getaddrinfo" and args[0] not in _HERE:
            self._asked(event, args[0])
            raise socket.gaierror(socket.EAI_NONAME, "no names in a property-based test")
        elif event == "socket.connect" and isinstance(args[1], tuple):
            if args[1][0] not in _HERE:
                self._asked(event, args[1])
            raise ConnectionRefusedError("nobody listens in a property-based test")

    def _asked(self, event: str, whom: Any) -> None:
        if not self.asks:
            self.misdeeds.append(f"{event} {whom!r:.200}")

    def _wrote(self, event: str, path: Any) -> None:
        if isinstance(path, int):
            return
        place = os.path.abspath(os.fsdecode(path))
        if place != os.devnull and not place.startswith(f"{self.root}/"):
            self.misdeeds.append(f"{event} {place:.200}")


_watch: list[Yard | None] = [None]


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if (yard := _watch[0]) is not None:
        yard.note(event, args)


_hooked: list[bool] = []


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Yard]:
    """Make a yard and move into it."""
    if not _hooked:  # a hook stays for good
        sys.addaudithook(_hook)
        _hooked.append(True)
    yard = Yard(root)
    for name in ("home", "jobs", "work", "tmp", "state", "cache"):
        (root / name).mkdir()
    import kubernetes  # noqa: F401 - early, because no case is to pay for it
    from ray import job_submission  # noqa: F401

    with pytest.MonkeyPatch.context() as patch:
        others = ("RAY_", "GANSVC_", "AWS_", "KUBERNETES_", "REQUESTS_", "XDG_")
        for name in [name for name in os.environ if name.startswith(others) or "proxy" in name.lower()]:
            patch.delenv(name)
        patch.setattr(local, "start", _refuse_to_start)
        patch.setattr(downloads, "PAUSES", ())
        patch.setattr(tempfile, "tempdir", str(root / "tmp"))
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.chdir(yard.work)
        yield yard


def _refuse_to_start(say: Callable[[str], None]) -> NoReturn:
    raise ClusterError("no Ray is started in a property-based test")


def _sound(ended: Ended) -> None:
    assert ended.code in (0, 1, 2, 3, 4), ended
    if ended.err.startswith("Usage: "):  # the parser's own words on the user's own command line
        assert ended.code == 2
        return
    lines = ended.err.splitlines()
    assert len(lines) <= MOST and all(len(line) <= LONGEST for line in lines), ended.err[:5000]
    assert "Traceback" not in ended.err
    if ended.code and ended.args[0] != "doctor":  # whose table says what is wrong
        said = [line for line in lines if line.startswith("Error: ")]
        # What is about to be sent, and what is about to be done, is told before.
        assert said and (said == lines or ended.args[0] in ("submit", "resume", "prefetch")), ended
    found = driving(ended.out + ended.err)
    assert not found, f"{found!r} reaches the terminal: {ended}"


def driving(text: str) -> set[str]:
    """Return the characters of a text that drive, turn or hide something."""
    return {char for char in set(text) if unicodedata.category(char) in _DRIVING and char not in _LET_THROUGH}


def closed_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# What goes wrong more often than chance would try.
NASTY = (
    *("", " ", ".", "..", "../..", "/", "//", "~", "-", "--", "-x", "*", "a/../..", "../evil", "/etc/passwd", "null"),
    *("a" * 300, "é" * 200, "\x1b[31mred\x1b[0m", "\x9b31m", "a\nb", "a\rb", "\u202egnp", "\u2028", "\ufeff", "\x7f"),
    *("name", "NaN", "[bold]x[/bold]", "%s%n", "{0}", "$(touch made)", "; touch made", "💥", "\udcff", "İ", "1e999"),
)
texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=30), st.text(st.characters(max_codepoint=0xFF), max_size=12))
numbers = st.one_of(
    st.integers(-3, 70),
    st.sampled_from((0, -1, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400, True, False)),
    st.floats(),
    st.sampled_from((1e308, -1e308, 1e-320, float("inf"), float("-inf"), float("nan"), 1e18)),
)
scalars: st.SearchStrategy[Any] = st.one_of(st.none(), numbers, texts)
junk: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)


def places(data: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in plain data, the whole first."""
    found = [here]
    if isinstance(data, Mapping):
        found += [place for key, value in data.items() for place in places(value, (*here, key))]
    elif isinstance(data, list):
        found += [place for index, value in enumerate(data) for place in places(value, (*here, index))]
    return found


@st.composite
def changed(draw: st.DrawFn, data: Any, most: int = 3) -> Any:
    """Draw plain data with up to ``most`` values replaced, taken out, added or moved."""
    import copy

    data = copy.deepcopy(data)
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.sampled_from(places(data)[1:] or [()]))
        if not place:
            return draw(junk)
        node = data
        for part in place[:-1]:
            node = node[part]
        how = draw(st.sampled_from(("replace", "replace", "replace", "delete", "add", "copy")))
        if how == "replace":
            node[place[-1]] = draw(junk)
        elif how == "copy":
            node[place[-1]] = copy.deepcopy(data)
        elif how == "delete":
            del node[place[-1]]
        elif isinstance(node, list):
            node.append(draw(junk))
        else:
            node[draw(texts)] = draw(junk)
    return data


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Draw bytes with some of them flipped, cut off, taken out or put in."""
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, max(0, len(data) - 1))), draw(st.integers(1, 16))
        how = draw(st.sampled_from(("flip", "flip", "cut", "remove", "insert", "repeat")))
        if how == "flip" and data:
            data = data[:at] + bytes([data[at] ^ draw(st.integers(1, 255))]) + data[at + 1 :]
        elif how == "cut":
            data = data[:at]
        elif how == "remove":
            data = data[:at] + data[at + length :]
        elif how == "insert":
            data = data[:at] + draw(st.binary(min_size=1, max_size=16)) + data[at:]
        else:
            data = data[:at] + data[at : at + length] * 3 + data[at + length :]
    return data
