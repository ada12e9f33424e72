"""The three families of errors, by who must act; the command line turns each into one sentence and an exit code."""

from collections.abc import Iterable
from difflib import get_close_matches


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
    return f"unknown {kind} {name!r}; {did_you_mean(name, names)}known: {', '.join(names)}"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return the nearest known name as a question to put into a sentence, or nothing where none is near."""
    near = get_close_matches(str(name), sorted(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}? " if near else ""


def reason_of(error: BaseException) -> str:
    """Return an error as one line: our own errors are sentences already, others need their kind beside the text."""
    if isinstance(error, GansvcError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())
