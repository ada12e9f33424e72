"""What of a shell reaches the local cluster, and users without a home folder or a name; no Ray is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gansvc import api
from gansvc.catalog.datasets import Dataset
from gansvc.client import configfile, environment
from gansvc.client.kuberay import pods
from gansvc.errors import SpecError
from gansvc.files import homefolder
from gansvc.spec import drivercommand
from gansvc.spec.placement import Placement
from gansvc.store.folder import Folder

from .shells import FOREIGN

ROOT = Path(__file__).parents[2]
GANSVC = [sys.executable, "-c", "from gansvc.cli.app import main; main()"]

# --- variables ------------------------------------------------------------------------------------------------------


def test_only_known_variables_pass() -> None:
    wanted = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "GANSVC_CACHE": "/cache",
        "OMP_NUM_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "1",
        "https_proxy": "http://proxy:1",
        "NO_PROXY": "host",
        "REQUESTS_CA_BUNDLE": "/pem",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_CONFIG_FILE": "/aws",
        "GOOGLE_APPLICATION_CREDENTIALS": "/google",
        "AZURE_CLIENT_SECRET": "secret",
    }
    assert environment.select_variables(FOREIGN | wanted) == wanted
    assert environment.select_variables(FOREIGN | wanted, ["PYTHONPATH", "ABSENT"]) == wanted | {
        "PYTHONPATH": "/nowhere"
    }


def test_what_gansvc_sets_stands_whatever_the_shell_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    found = environment.of_cluster(tmp_path, [*FOREIGN, "TMPDIR"])
    assert found["TMPDIR"] == FOREIGN["TMPDIR"], "named in the config file"
    assert drivercommand.ENVIRONMENT.items() <= found.items()
    assert (found["PYTHONSAFEPATH"], found["RAY_TRAIN_V2_ENABLED"]) == ("1", "1")


def test_the_documentation_names_every_variable_that_passes() -> None:
    text = (ROOT / "docs/environment.md").read_text()
    names = [*environment.PASSED_VARIABLES, *(f"{beginning}\\*" for beginning in environment.PASSED_PREFIXES)]
    assert [name for name in names if name not in text] == []


def test_pods_have_the_habits_of_the_local_cluster() -> None:
    for template in (pods.head(Placement(image="i")), pods.worker(Placement(image="i"))):
        (container,) = template["spec"]["containers"]
        found = {variable["name"]: variable["value"] for variable in container["env"]}
        assert drivercommand.ENVIRONMENT.items() <= found.items()


def test_the_config_file_names_more_variables() -> None:
    assert configfile.read().environment == ()
    configfile.change("environment", "NCCL_P2P_DISABLE, TMPDIR")
    assert configfile.read().environment == ("NCCL_P2P_DISABLE", "TMPDIR")
    assert api.settings()["environment"] == ("NCCL_P2P_DISABLE, TMPDIR", "config file")
    for wrong in ("A=1", "A B-C", "1A"):
        with pytest.raises(SpecError, match=r"environment\[\d\]: .* doesn't fit"):
            configfile.change("environment", wrong)
    configfile.change("environment", "")
    assert configfile.read().environment == ()


def test_modules_that_only_python_path_finds_are_told(tmp_path: Path) -> None:
    here = [str(ROOT / "service"), *(path for path in sys.path if path.endswith("site-packages"))]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(here), "GANSVC_HOME": str(tmp_path / "home")}
    code = "from gansvc.client import local; local.start(print)"
    python = Path(sys.base_prefix, "bin", "python3")  # which has none of them
    done = subprocess.run([python, "-c", code], env=variables, capture_output=True, text=True, timeout=120)
    assert "gansvc, ray, torch: found here by PYTHONPATH alone" in done.stderr
    assert "`gansvc config environment PYTHONPATH`" in done.stderr and [
        path.name for path in (tmp_path / "home").iterdir()
    ] == ["lock"]


# --- no home folder -------------------------------------------------------------------------------------------------


def test_a_home_folder_that_is_unknown_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert homefolder.expand("~/x") == tmp_path / "x" and homefolder.expand("a/b") == Path("a/b")
    for ask in (
        lambda: homefolder.expand("~no-such-user/x"),
        lambda: Folder("~no-such-user/jobs"),
        lambda: Dataset(name="bloodmnist", root="~no-such-user/data").missing(),
    ):
        with pytest.raises(SpecError, match="no home folder of no-such-user is known here; set HOME"):
            ask()
    assert list(tmp_path.iterdir()) == [], "no folder called ~"


@pytest.mark.parametrize(
    "words",
    ["list", "status", "down", "doctor", "submit quickstart.yaml", "config lab.cluster http://127.0.0.1:9"],
)
def test_a_user_without_a_home_is_told_what_to_set(nobody: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_bytes((ROOT / "jobs/quickstart.yaml").read_bytes())
    done = subprocess.run([*nobody, *GANSVC, *words.split()], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode in (2, 3) and "Traceback" not in text, text
    assert "no home folder is known here; set HOME, or give folders of your own by" in text
    assert [path.name for path in tmp_path.iterdir()] == ["quickstart.yaml"]


def test_a_user_without_a_home_can_do_without_one(nobody: list[str], tmp_path: Path) -> None:
    code = (
        "import getpass, json, pathlib; from gansvc.client import environment, local\n"
        "print(json.dumps(environment.of_cluster(local.home())))"
    )
    own = [f"GANSVC_HOME={tmp_path}/home", f"GANSVC_STORAGE={tmp_path}/jobs"]
    done = subprocess.run([*nobody, *own, sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert f'"HOME": "{tmp_path}/home"' in done.stdout and '"USER": "user-54321"' in done.stdout, done.stderr
    for words in ("list", "down", "config", "doctor"):
        done = subprocess.run([*nobody, *own, *GANSVC, words], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
