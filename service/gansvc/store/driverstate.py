"""How a job's driver is, as the Jobs API or KubeRay says, and why it ended."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import Literal

State = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"]
ENDED: tuple[State, ...] = ("SUCCEEDED", "FAILED", "STOPPED")
_KILLED = re.compile(r"Job entrypoint command failed with exit code -(\d+)\b")
"""How Ray's message begins for a driver that a signal ended."""


@dataclass(frozen=True)
class Driver:
    """What the Jobs API says of a job's driver."""

    state: State
    message: str
    pid: int | None = None
    """Its process on its node, once it has joined the cluster."""

    def reason(self) -> str:
        """Return why it ended, as half a sentence: the signal that killed it, or the last line of its log."""
        if killed := _KILLED.match(self.message):
            number = int(killed[1])
            name = signal.Signals(number).name if number in [*signal.Signals] else f"signal {number}"
            memory = ", as the kernel does where memory runs out" if number == signal.SIGKILL else ""
            return f"it was killed by {name}{memory}"
        return last_sentence(self.message) or "it says nothing"


def last_sentence(text: str) -> str:
    """Return the line of a Ray message or a log that says what went wrong: the last one that holds a word.

    Ray answers with a traceback and then, on a line of its own, a full stop.
    """
    lines = (line.strip() for line in reversed(text.splitlines()))
    return next((line.removesuffix(".")[:300] for line in lines if re.search(r"\w", line)), "")
