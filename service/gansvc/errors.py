"""The three families of errors, by who must act; the command line turns each into one sentence and an exit code."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

# Control characters, those that end a line or turn it around, and halves of a pair, which no encoding can write.
_DRIVES = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class GansvcError(Exception):
    """Base of every error that gansvc raises on purpose."""

    exit_code = 1


class RunError(GansvcError):
    """The job itself failed: a run diverged, a phase had nothing to go on with."""

    exit_code = 1


class SpecError(GansvcError):
    """What the user handed in is wrong; the message names the field, the value and the fix."""

    exit_code = 2


class ClusterError(GansvcError):
    """The cluster, the network or the storage is at fault; the operator mends it."""

    exit_code = 3


def unknown_name(kind: str, name: object, known: Iterable[str]) -> str:
    """Return the sentence for a name that is in no table: the name, the nearest known one and the list."""
    names = sorted(known)
    name = name if len(text := repr(name)) <= 60 else f"{text[:57]}..."
    near = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}; {hint}known: {', '.join(names)}"


def reason_of(error: BaseException) -> str:
    """Return an error as one line: our own errors are sentences already, others need their kind beside the text."""
    if isinstance(error, GansvcError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def printable(text: object, keep: str = "") -> str:
    """Return text in which what could drive a terminal, or can't be written, is an escape: ``\\u001b``.

    What comes from a file or from another machine goes through this before it is shown. ``keep`` names the line ends
    and tabs that stay.
    """
    return _DRIVES.sub(lambda found: found[0] if found[0] in keep else f"\\u{ord(found[0]):04x}", str(text))
