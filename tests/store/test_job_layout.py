"""What a job's folder holds is named in one module, whose docstring shows it."""

from __future__ import annotations

import ast
from pathlib import Path, PurePosixPath

import gansvc
from gansvc.store import layout

PACKAGE = Path(gansvc.__path__[0])
NAMES = {value for name, value in vars(layout).items() if name.isupper() and isinstance(value, str)}


def test_the_docstring_shows_every_name() -> None:
    hidden = {layout.RAY_SCRATCH}
    assert [name for name in NAMES - hidden if PurePosixPath(name).name not in (layout.__doc__ or "")] == []


def test_no_other_module_spells_a_records_name() -> None:
    records = {name for name in NAMES if name.endswith((".json", ".jsonl"))}
    modules = [path for path in PACKAGE.rglob("*.py") if path != Path(layout.__file__)]
    spelled = [
        f"{path.relative_to(PACKAGE)}: {node.value}"
        for path in modules
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in records
    ]
    assert spelled == [], "take it from gansvc.store.layout"


def test_the_names_of_checkpoints_trials_and_scores_are_read_as_they_are_written() -> None:
    assert layout.parse_checkpoint(layout.checkpoint_name(7, "0" * 16)) == (7, "0" * 16)
    assert layout.parse_checkpoint(layout.BEST) is None
    assert layout.is_trial(layout.trial_name(123_456)) and not layout.is_trial(layout.TRIALS)
    run = layout.run_name("lsgan", 3)
    assert layout.is_score(layout.score(run))
    assert not any(map(layout.is_score, (layout.audit(run), layout.usefulness(run), layout.scored_grid(run))))
