"""Reading the package's imports: which file and which room uses which.

A room is a package of gansvc (``client`` and ``client.kuberay`` are two) or a loose module beside the packages.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1] / "service" / "gansvc"
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if path.name != "__init__.py")


@dataclass(frozen=True)
class Import:
    """One imported name."""

    name: str
    """Full dotted name, of the module or of what is taken from it."""
    line: int
    at_load: bool
    """Whether it runs when the module is loaded: not in a function and not for the type checker alone."""

    @property
    def package(self) -> str:
        return self.name.split(".")[0]

    @property
    def file(self) -> str | None:
        """Return the file of gansvc that it names or takes something from, or None for other packages."""
        parts = self.name.split(".")[1:] if self.package == "gansvc" else []
        while parts:
            if (candidate := "/".join(parts) + ".py") in MODULES:
                return candidate
            parts.pop()
        return None


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"), filename=module)


@cache
def imports(module: str) -> tuple[Import, ...]:
    return tuple(read_imports(tree(module), at_load=True))


def read_imports(node: ast.AST, at_load: bool) -> Iterator[Import]:
    """Yield the imports below a node of a module's tree."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, at_load) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            origin = "." * child.level + (child.module or "")
            yield from (Import(f"{origin}.{alias.name}", child.lineno, at_load) for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for statement in child.body:
                yield from read_imports(ast.Module([statement], []), at_load=False)
            for statement in child.orelse:
                yield from read_imports(ast.Module([statement], []), at_load)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from read_imports(child, at_load and not inside)


def room_of(module: str) -> str:
    """Return the package that a file stands in, or the name of a loose module."""
    *packages, name = module.split("/")
    return ".".join(packages) or name.removesuffix(".py")


def files_used(module: str, at_load: bool = False) -> set[str]:
    """Return the other files of gansvc that a file imports anything from; ``at_load`` leaves out late imports."""
    return {item.file for item in imports(module) if item.file and (item.at_load or not at_load)} - {module}


def rooms_used() -> dict[str, set[str]]:
    """Return which rooms each room imports from, anywhere in its files."""
    used: dict[str, set[str]] = {room_of(module): set() for module in MODULES}
    for module in MODULES:
        used[room_of(module)] |= {room_of(file) for file in files_used(module)} - {room_of(module)}
    return used


def reached(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    """Return what can be reached from a node of a graph in one step or more."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        new = graph[todo.pop()] - seen
        seen |= new
        todo.extend(new)
    return seen


def circles(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the nodes of a graph that can be reached from themselves."""
    return sorted(node for node in graph if node in reached(node, graph))


def level(room: str, graph: Mapping[str, set[str]]) -> int:
    """Return the number of imports on the longest way from a room down, in a graph without circles."""
    return max((level(used, graph) + 1 for used in graph[room]), default=0)
