"""SECURITY.md keeps its word: each promise names tests, and they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_each_promise_names_tests_that_are_there() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    promised = text[text.index("## What gansvc holds to") : text.index("## What isn't protected")]
    promises = [" ".join(item.split()) for item in re.split(r"(?m)^- ", promised)[1:]]
    assert len(promises) > 10
    for promise in promises:
        named = re.search(r"\*Tests: (.+)\.\*$", promise)
        assert named, f"no tests stand behind: {promise[:80]}"
        missing = [name for name in named[1].split(", ") if not (ROOT / "tests" / f"{name}.py").is_file()]
        assert missing == [], promise[:80]
