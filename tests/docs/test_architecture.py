"""docs/architecture.md tells the truth: its picture is that of the imports, and every file that it names is there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..rooms import ROOT, level, reached, rooms_used

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def nearest(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return a graph without circles less each arrow that a longer way stands for."""
    return {
        node: {one for one in used if not any(one in reached(other, graph) for other in used)}
        for node, used in graph.items()
    }


def picture(graph: Mapping[str, set[str]]) -> str:
    """Return the rooms as a Mermaid flowchart: an arrow leads from a room to one that it imports from."""
    rooms = sorted(graph, key=lambda room: (-level(room, graph), room))
    arrows = [f"  {room} --> {used}" for room in rooms for used in sorted(nearest(graph)[room])]
    return "\n".join(["```mermaid", "flowchart TD", *arrows, "```"])


def test_arrows_that_a_longer_way_stands_for_are_left_out() -> None:
    assert nearest({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_the_picture_shows_the_imports() -> None:
    drawn = re.search(r"```mermaid\n.*?```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert drawn and drawn[0] == picture(rooms_used()), f"put this into {PAGE.name}:\n{picture(rooms_used())}"


def test_each_room_has_its_line() -> None:
    rows = re.findall(r"(?m)^\| (`.+?`) \|", PAGE.read_text(encoding="utf-8"))
    named = [name for row in rows for name in re.findall(r"`([a-z._]+)`", row)]
    assert sorted(named) == sorted(rooms_used())


def test_each_file_that_it_names_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    modules = set(re.findall(r"\b((?:[a-z_]+/)+[a-z_]+\.py)\b", text))
    links = set(re.findall(r"\]\(([^)]+)\)", text))
    homes = (ROOT, PAGE.parents[1])
    assert len(modules) > 5 and len(links) > 5
    assert sorted(name for name in modules if not any((home / name).is_file() for home in homes)) == []
    assert sorted(name for name in links if not (PAGE.parent / name).exists()) == []
