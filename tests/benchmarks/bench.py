"""`make bench`: measure, print one table, write build/bench.json after each benchmark, so that Ctrl-C loses nothing.

    PYTHONPATH=$PWD/tests python -m benchmarks.bench [NAME,...] [--rounds N]

A name is one of the table's, or its beginning up to a dot: ``train``, ``train.wgan``. With names, the file keeps what
an earlier run wrote under others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path

from rich.console import Console

from gansvc.catalog.losses import LOSSES

from . import growth, job, training
from .measured import Measured, read, table, write

OUT = Path(__file__).parents[2] / "build" / "bench.json"

# Those that need no cluster come first: even an idle one takes a little of the machine.
ALONE: dict[str, Callable[[int | None], Measured]] = {
    f"train.{label}.{precision}": partial(training.measure, label, precision)
    for precision in ("fp32", "bf16")
    for label in LOSSES
} | growth.BENCHMARKS


def _later(module: str, function: str) -> Callable[[int | None], Measured]:
    """Return a benchmark of a module that is imported when it runs: Ray reads its environment on import."""

    def run(rounds: int | None) -> Measured:
        measured: Measured = getattr(import_module(f".{module}", __package__), function)(rounds)
        return measured

    return run


ON_CLUSTER = {
    "search": _later("searching", "search"),
    "trial_start_s": _later("searching", "trial_start"),
    "ddp2": _later("ddp", "measure"),
    "evaluate": _later("scoring", "measure"),
    "overhead_share": _later("overhead", "measure"),
    **growth.ON_CLUSTER,
}
BENCHMARKS = ALONE | ON_CLUSTER


def main(arguments: list[str] | None = None) -> int:
    """Run the named benchmarks, or all, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to run; everything if left out")
    parser.add_argument("--rounds", type=int, help="rounds of each benchmark; its own number if left out")
    parser.add_argument("--out", type=Path, default=OUT, help="file of the results")
    given = parser.parse_args(arguments)
    if given.rounds is not None and given.rounds < 1:
        parser.error("--rounds must be at least 1")
    asked = [part for parts in given.names for part in parts.split(",") if part]
    chosen = [name for name in BENCHMARKS if not asked or any(_names(part, name) for part in asked)]
    if strange := [part for part in asked if not any(_names(part, name) for name in BENCHMARKS)]:
        parser.error(f"unknown: {', '.join(strange)}; known: train, {', '.join(BENCHMARKS)}")
    return _run(chosen, given.rounds, given.out, read(given.out) if asked else {})


def _run(chosen: list[str], rounds: int | None, out: Path, kept: dict[str, dict[str, object]]) -> int:
    results: list[Measured] = []
    try:
        with ExitStack() as stack:
            for name in chosen:
                if name in ON_CLUSTER and not set(ON_CLUSTER) & {result.name for result in results}:
                    stack.enter_context(job.cluster())
                # What a benchmarked part prints is progress; the table has stdout to itself.
                with redirect_stdout(sys.stderr):
                    results.append(BENCHMARKS[name](rounds))
                write(out, kept, results)
    except KeyboardInterrupt:
        return 130
    finally:
        if results:
            # A file has no width of its own.
            Console(width=None if sys.stdout.isatty() else 160).print(table(results))
    return 0


def _names(part: str, name: str) -> bool:
    return name == part or name.startswith(f"{part}.")


if __name__ == "__main__":
    sys.exit(main())
