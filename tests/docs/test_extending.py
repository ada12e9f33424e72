"""The pages that say how to add to the tables: their Python blocks are run, each page from top to bottom."""

from __future__ import annotations

import copy
import importlib
import linecache
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gansvc import catalog

PAGES = sorted((Path(__file__).parents[2] / "docs" / "extending").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def tables() -> list[dict[Any, Any]]:
    """Return the tables of the catalog: its modules' dicts, and those of their classes."""
    names = [module.name for module in pkgutil.iter_modules(catalog.__path__, f"{catalog.__name__}.")]
    spaces = [vars(importlib.import_module(name)) for name in names]
    classes = [vars(one) for space in spaces for one in space.values() if isinstance(one, type)]
    inside = [one for space in (*spaces, *classes) for name, one in space.items() if not name.startswith("_")]
    return list({id(one): one for one in inside if isinstance(one, dict)}.values())


@pytest.fixture(autouse=True)
def _tables_as_they_were() -> Iterator[None]:
    kept = [(table, copy.copy(table)) for table in tables()]
    yield
    for table, before in kept:
        table.clear()
        table.update(before)


def run(page: Path) -> dict[str, Any]:
    """Run a page's blocks in one namespace, and return it; a traceback shows the page's own lines."""
    text = page.read_text(encoding="utf-8")
    linecache.cache[str(page)] = (len(text), None, text.splitlines(keepends=True), str(page))
    namespace: dict[str, Any] = {"__name__": page.stem}
    for block in BLOCK.finditer(text):
        lines_before = text.count("\n", 0, block.start(1))
        exec(compile("\n" * lines_before + block[1], page, "exec", dont_inherit=True), namespace)
    return namespace


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = run(page)
    assert len(found) > 2, "a page shows code: fenced blocks that begin with ```python"


def test_an_entry_that_a_page_adds_is_gone_after_it() -> None:
    from gansvc.catalog.augments import AUGMENTS
    from gansvc.catalog.losses import LOSSES
    from gansvc.catalog.networks import NETWORKS, Resnet

    assert [
        table for table in (AUGMENTS, LOSSES, NETWORKS, Resnet.sizes) if not any(table is one for one in tables())
    ] == []
