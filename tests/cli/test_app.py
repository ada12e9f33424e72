"""The command line: what it prints, where, and with which exit code; bad input gets one sentence."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from gansvc import api
from gansvc.cli import app
from gansvc.client import lifecycle, plan
from gansvc.errors import ClusterError
from gansvc.spec import jobfile
from gansvc.store import jobstatus
from gansvc.store.jobfolder import Job
from gansvc.store.records import Status

from ..builders.commands import Run

SPEC = """
name: small
dataset: histology
losses: [lsgan, wgan]
training: {epochs: 2, seeds: [0, 1], evaluations: 3}
search: {trials: 4, epochs: 1}
evaluation: {extractor: efficientnet-lite0}
"""
COMMANDS = (
    "validate",
    "schema",
    "init",
    "submit",
    "list",
    "status",
    "logs",
    "stop",
    "report",
    "pull",
    "sample",
    "compare",
    "evaluate",
    "config",
    "doctor",
    "prefetch",
    "down",
)
TRAINING_MODULES = (
    *("torch", "torchvision", "torch_fidelity", "timm", "medmnist", "skimage", "matplotlib", "jinja2", "safetensors"),
    *("ray.train", "ray.tune"),
)


@pytest.fixture
def spec_file(tmp_path: Path) -> str:
    (tmp_path / "job.yaml").write_text(SPEC)
    return "job.yaml"


def a_job(storage: Path) -> Job:
    """Write the folder of a job at work."""
    job = Job(id="small-20260101-000000-aaaa", folder=str(storage / "small-20260101-000000-aaaa"))
    jobstatus.start(job, "small")
    return job


# Help and imports


def test_every_command_has_help_and_is_listed(run: Run) -> None:
    listed = run("--help")
    assert listed.code == 0
    for name, command in typer.main.get_command(app.app).commands.items():  # type: ignore[attr-defined]
        shown = run(name, "--help")
        assert shown.code == 0 and command.help and " ".join(command.help.split()) in " ".join(shown.out.split())
        assert name in listed.out
    assert set(COMMANDS) <= set(typer.main.get_command(app.app).commands)  # type: ignore[attr-defined]


def test_help_imports_neither_torch_nor_ray_nor_pyarrow() -> None:
    code = (
        "import sys\nfrom gansvc.cli import app\n"
        "try: app.main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'ray', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    assert python(code).stdout.splitlines()[-1] == "[]"


def test_validate_and_dry_run_work_without_the_train_extra(tmp_path: Path, spec_file: str) -> None:
    works = (
        ["validate", spec_file],
        ["submit", spec_file, "--dry-run"],
        ["schema"],
        ["init", "-"],
        ["list"],
        ["config"],
    )
    for args in works:
        ended = without_training(tmp_path, args)
        assert ended.returncode == 0, ended.stderr
    ended = without_training(tmp_path, ["doctor", spec_file])
    assert ended.returncode == 3 and "pip install 'gansvc[train]'" in ended.stdout and "Traceback" not in ended.stderr
    assert "# trials: 8" in without_training(tmp_path, ["submit", spec_file, "--dry-run"]).stdout


@pytest.mark.parametrize("args", [["submit", "job.yaml"], ["sample", "model"], ["evaluate", "model"]])
def test_without_the_train_extra_what_needs_torch_says_so_in_one_sentence(
    tmp_path: Path, spec_file: str, args: list[str]
) -> None:
    ended = without_training(tmp_path, args)
    errors = [line for line in ended.stderr.splitlines() if line.startswith("Error")]
    assert ended.returncode == 3
    assert len(errors) == 1 and "torch" in errors[0] and "pip install 'gansvc[train]'" in errors[0]
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "home").exists()


def python(code: str, *args: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ}
    if folder:
        env |= {"GANSVC_HOME": str(folder / "home"), "GANSVC_STORAGE": str(folder / "jobs")}
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, cwd=folder, env=env)


def without_training(folder: Path, args: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command where the train extra's modules can't be found."""
    code = f"""
import sys
from importlib.machinery import PathFinder
class Without:
    def __init__(self, finders): self.finders = finders
    def find_spec(self, name, path=None, target=None):
        if any(name == m or name.startswith(m + ".") for m in {TRAINING_MODULES!r}):
            return None
        found = (finder.find_spec(name, path, target) for finder in self.finders)
        return next((spec for spec in found if spec), None)
    def find_distributions(self, context): return PathFinder.find_distributions(context)
sys.meta_path[:] = [Without(list(sys.meta_path))]
from gansvc.cli import app
app.main(sys.argv[1:])
"""
    return python(code, *args, folder=folder)


# Bad input


BAD = {
    "unknown field": ("training: {epochz: 3}", "training", "epochz", "did you mean 'epochs'"),
    "unknown name": ("losses: [lsgann]", "losses[0]", "'lsgann'", "did you mean 'lsgan'"),
    "unknown data set": ("dataset: retinamist", "dataset", "'retinamist'", "did you mean 'retinamnist'"),
    "wrong type": ("training: {epochs: many}", "training.epochs", "'many'", "must be a valid integer"),
    "out of range": ("training: {epochs: 0}", "training.epochs", "0", "greater than or equal to 1"),
    "no losses": ("losses: []", "losses", "[]", "at least 1"),
    "one label twice": ("losses: [wgan, wgan]", "losses", "'wgan'", "label: NAME"),
    "space out of range": ("search: {space: {critic_lr: {uniform: [0.1, 9]}}}", "search.space.critic_lr", "9", "1"),
    "space of no field": ("search: {space: {clip: {uniform: [0.1, 1]}}}", "search.space.clip", "lsgan", "wgan.clip"),
    "n_critic 0": ("losses: [{name: wgan, n_critic: 0}]", "losses[0].n_critic", "0", "greater than or equal to 1"),
    "batch below workers": ("training: {batch_size: 2, workers: 3}", "training", "batch_size 2", "workers 3"),
}


@pytest.mark.parametrize("command", ["validate", "submit"])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_spec_gets_one_sentence_with_field_value_and_fix(
    run: Run, tmp_path: Path, case: str, command: str
) -> None:
    change, *words = BAD[case]
    data = {"name": "small", "dataset": "histology", "losses": ["lsgan", "wgan"]} | yaml.safe_load(change)
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(data))
    result = run(command, "bad.yaml")
    assert result.code == 2 and result.out == ""
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith("Error: bad.yaml: ")
    for word in words:
        assert word in result.err
    assert "pydantic" not in result.err and "Traceback" not in result.err


FILES: dict[str, tuple[bytes, str]] = {
    "binary": (bytes(range(256)) * 4, "not UTF-8"),
    "NUL": (b"name: a\0b", "not valid YAML"),
    "latin-1": ("name: Kölner".encode("latin-1"), "not UTF-8"),
    "huge": (b"#" * 70_000, "larger than 64 KiB"),
    "alias bomb": (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "aliases"),
    "deep nesting": (b"[" * 5_000, "nested too deeply"),
    "empty": (b"", "mapping"),
    "a list": (b"- lsgan", "mapping"),
    "not YAML": (b"name: [", "not valid YAML"),
    "Python code": (b"!!python/object/apply:os.system ['true']", "not valid YAML"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_gets_one_sentence(run: Run, tmp_path: Path, case: str) -> None:
    content, words = FILES[case]
    (tmp_path / "bad.yaml").write_bytes(content)
    result = run("validate", "bad.yaml")
    assert result.code == 2 and len(result.err.splitlines()) == 1
    assert "bad.yaml" in result.err and words in result.err


def test_a_missing_file_and_a_folder_get_one_sentence(run: Run, tmp_path: Path) -> None:
    assert run("validate", "none.yaml").err.startswith("Error: none.yaml can't be read")
    (tmp_path / "folder").mkdir()
    result = run("submit", "folder")
    assert result.code == 2 and "is a folder" in result.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--set", "training.epochs=0"], "training.epochs"),
        (["--set", "training.epochz=1"], "did you mean 'epochs'"),
        (["--set", "training"], "PATH=VALUE"),
        (["--set", "=3"], "PATH=VALUE"),
        (["--set", "losses=[lsgan"], "--set losses"),
        (["--set", "losses.wgan-gp.clip=1"], "wgan-gp"),
        (["--cluster", "k9s"], "http://HOST:8265"),
        (["--cluster", "k8s"], "cluster is missing"),
        (["--cluster", "k8s:/lab"], "k8s://CONTEXT/NAMESPACE"),
        (["--cluster", "http://"], "--cluster: 'http://' is not a cluster"),
        (["--name", "Not A Name"], "name: 'Not A Name'"),
        (["--name", ""], "name: ''"),
        (["--name", "../x"], "name: '../x'"),
        (["--cluster", "http://host:99999999"], "http://HOST:8265"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_a_bad_option_exits_2_and_starts_nothing(
    run: Run, tmp_path: Path, spec_file: str, args: list[str], words: str
) -> None:
    result = run("submit", spec_file, *args)
    assert result.code == 2 and words in result.err and "Traceback" not in result.err
    assert not (tmp_path / "home").exists() and not (tmp_path / "jobs").exists()


def test_a_cluster_elsewhere_needs_a_storage_that_both_reach(
    run: Run, spec_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GANSVC_STORAGE")
    result = run("submit", spec_file, "--cluster", "http://127.0.0.1:9")
    assert result.code == 2 and "--storage" in result.err


def test_a_cluster_that_is_not_there_exits_3_and_leaves_no_job(run: Run, tmp_path: Path, spec_file: str) -> None:
    result = run("submit", spec_file, "--cluster", "http://127.0.0.1:9")
    assert result.code == 3 and "can't be reached" in result.err.splitlines()[-1]
    assert not (tmp_path / "jobs").exists()


def test_a_local_job_with_missing_files_or_too_many_workers_is_refused_before_anything_starts(
    run: Run, tmp_path: Path, spec_file: str
) -> None:
    cases = {
        "dataset={name: npz, path: none.npz}": str(tmp_path / "none.npz"),
        "evaluation.extractor={name: inception-v3, weights: w.pth}": str(tmp_path / "w.pth"),
        "training.workers=64": "training.workers: 64 workers",
    }
    for value, words in cases.items():
        result = run("submit", spec_file, "--set", value)
        assert result.code == 2 and words in result.err.splitlines()[-1], value
    assert not (tmp_path / "home").exists() and not (tmp_path / "jobs").exists()


# What starts no cluster


def test_validate_sets_values_and_prints_json(run: Run, spec_file: str) -> None:
    result = run("validate", spec_file, "--json", "--set", "training.epochs=7", "--set", "losses.wgan.clip=1e-2")
    spec = json.loads(result.out)["spec"]
    assert result.code == 0 and spec["training"]["epochs"] == 7 and spec["losses"][1]["clip"] == 0.01


def test_a_name_takes_the_place_of_the_files(run: Run, spec_file: str) -> None:
    data = json.loads(run("submit", spec_file, "--dry-run", "--json", "--name", "another", "--set", "name=third").out)
    assert data["spec"]["name"] == data["plan"]["name"] == "another"


@pytest.mark.parametrize("command", [["validate", "-", "--json"], ["submit", "-", "--dry-run", "--json"]])
def test_a_job_file_is_read_from_standard_input(tmp_path: Path, command: list[str]) -> None:
    code = "import sys\nfrom gansvc.cli import app\napp.main(sys.argv[1:])"
    for text, expected in ((SPEC, 0), ("name: [", 2), ("", 2)):
        ended = subprocess.run(
            [sys.executable, "-c", code, *command], input=text, capture_output=True, text=True, cwd=tmp_path
        )
        assert ended.returncode == expected
        if expected:
            assert ended.stderr.startswith("Error: standard input: ") and len(ended.stderr.splitlines()) == 1
        else:
            assert jobfile.validate(json.loads(ended.stdout)["spec"]) == jobfile.parse(SPEC)


def test_schema_is_json_and_names_the_fields(run: Run) -> None:
    assert {"losses", "training", "search"} <= set(json.loads(run("schema").out)["properties"])
    assert {"headline", "leaderboard", "spec"} <= set(json.loads(run("schema", "--report").out)["properties"])


def test_init_writes_a_valid_file_once(run: Run, tmp_path: Path) -> None:
    assert run("init").code == 0
    assert run("validate", "job.yaml").code == 0
    (tmp_path / "job.yaml").write_text("mine")
    refused = run("init")
    assert refused.code == 2 and "--force" in refused.err and (tmp_path / "job.yaml").read_text() == "mine"
    assert run("init", "--force").code == 0
    assert run("init", "-").out == (tmp_path / "job.yaml").read_text() == jobfile.starter()
    assert run("init", "no/such/folder.yaml").code == 2


def test_dry_run_prints_the_resolved_spec_and_the_plan_and_starts_nothing(tmp_path: Path, spec_file: str) -> None:
    code = (
        "import sys\nfrom gansvc.cli import app\n"
        "try: app.main(['submit', 'job.yaml', '--dry-run'])\nexcept SystemExit as end: print('#', end.code)\n"
        "print('#', [m for m in ('torch', 'ray') if m in sys.modules])"
    )
    ended = python(code, folder=tmp_path)
    assert ended.stdout.splitlines()[-2:] == ["# 0", "# []"]
    assert jobfile.parse(ended.stdout) == jobfile.parse(SPEC)
    assert "# trials: 8 (4 a loss)" in ended.stdout and "# runs: 4 (2 a loss)" in ended.stdout
    assert not (tmp_path / "home").exists() and not (tmp_path / "jobs").exists()


def test_dry_run_as_json_holds_spec_and_plan(run: Run, spec_file: str) -> None:
    data = json.loads(run("submit", spec_file, "--dry-run", "--json").out)
    assert jobfile.validate(data["spec"]) == jobfile.parse(SPEC)
    assert plan.Plan.model_validate(data["plan"]).runs == 4


def test_version(run: Run) -> None:
    assert run("version").out == run("--version").out == f"gansvc {api.version()}\n"


def test_down_without_a_cluster(run: Run, tmp_path: Path) -> None:
    assert "no local cluster" in run("down").out
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["evaluate", "nowhere"], "give the model/ folder of a pulled job"),
        (["evaluate", "nowhere", "--dataset", "{name: a"], "not valid YAML"),
        (["evaluate", "nowhere", "--set", "samples"], "--set: 'samples' is no PATH=VALUE"),
        (["compare", "one-2026", "two-2026"], "there is no job 'one-2026'"),
    ],
)
def test_what_judges_again_refuses_in_a_sentence(run: Run, args: list[str], expected: str) -> None:
    ended = run(*args)
    assert ended.code == 2 and expected in ended.err and ended.err.count("Error") == 1


def test_sample_of_no_model_exits_2(run: Run) -> None:
    pytest.importorskip("torch")
    result = run("sample", "nowhere")
    assert result.code == 2 and "nowhere" in result.err


# Following


def test_ctrl_c_detaches_and_a_failed_job_exits_1(
    run: Run, tmp_path: Path, spec_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job(tmp_path / "jobs")
    monkeypatch.setattr(api, "submit", lambda *args: job)

    def interrupted(_: Job) -> Iterator[Status]:
        yield jobstatus.read(job)
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "follow", interrupted)
    detached = run("submit", spec_file)
    assert detached.code == 0
    for words in (f"gansvc status {job.id}", f"gansvc logs -f {job.id}", f"gansvc stop {job.id}"):
        assert words in detached.err
    assert run("submit", spec_file, "--detach").out == f"{job.id}\n"
    detached = run("submit", spec_file, "--detach", "--json")
    assert json.loads(detached.out) == {"id": job.id, "folder": job.folder}

    monkeypatch.setattr(api, "follow", lifecycle.follow)
    jobstatus.finish(job, "FAILED", "the critic diverged")
    failed = run("submit", spec_file, "--json")
    assert failed.code == 1 and json.loads(failed.out)["error"] == "the critic diverged"
    assert json.loads(failed.out)["id"] == job.id and json.loads(failed.out)["folder"] == job.folder
    assert f"Error: {job.id} FAILED: the critic diverged" in failed.err and f"gansvc logs {job.id}" in failed.err
    assert f"gansvc resume {job.id}" in failed.err and json.loads(failed.out)["partial"] is False


def test_errors_of_the_cluster_exit_3(run: Run, spec_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> Job:
        raise ClusterError("the cluster is on fire; call someone")

    monkeypatch.setattr(api, "submit", refuse)
    result = run("submit", spec_file)
    assert result.code == 3 and result.err.endswith("Error: the cluster is on fire; call someone\n")
