"""The image, the compose cluster and what goes into a build; none of these tests needs a container engine."""

import fnmatch
import importlib.util
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from gansvc.spec.drivercommand import ENVIRONMENT

from ..kube_examples import K8S
from ..kube_profiles import pods_of

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE = (DOCKER / "compose.yaml").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, comments left out and lines joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(line.split()[0], line.split(None, 1)[1]) for line in joined.splitlines() if line[:1].isupper()]


def environment() -> dict[str, str]:
    """Return the environment that the image sets."""
    return dict(re.findall(r"^(?:ENV| ) +([A-Z0-9_]+)=(\S+)(?: \\)?$", DOCKERFILE, re.MULTILINE))


def test_dockerfile_passes_hadolint() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.is_file() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint isn't installed; it comes with the dev extra")
    done = subprocess.run([hadolint, DOCKER / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    bad = subprocess.run([hadolint, "-"], input="FROM debian\nRUN cd /\n", capture_output=True, text=True, timeout=60)
    assert bad.returncode != 0


def test_image_is_not_root_and_starts_from_the_named_base() -> None:
    froms = [i for i, (word, _) in enumerate(instructions()) if word == "FROM"]
    last = instructions()[froms[-1] :]
    assert all(rest.startswith("${PYTHON_IMAGE}") for word, rest in instructions() if word == "FROM")
    assert [rest for word, rest in last if word == "USER"] == ["10001:10001"]
    assert last.index(("USER", "10001:10001")) > max(i for i, (word, _) in enumerate(last) if word == "RUN")
    assert [word for word, _ in last].count("HEALTHCHECK") == 1
    labels = next(rest for word, rest in last if word == "LABEL")
    assert 'version="${VERSION}"' in labels and 'revision="${COMMIT}"' in labels
    # pip is only mounted, and keeps nothing: what installs stays outside.
    (install,) = (rest for word, rest in last if word == "RUN" and "pip" in rest)
    assert install.startswith("--mount=type=bind,from=tools,source=/build,target=/build ")
    assert "PIP_NO_CACHE_DIR=1" in install and "--without-pip" in install
    assert not any("apt" in rest for word, rest in last if word == "RUN")
    assert any("chmod 1777 /home/gansvc" in rest for _, rest in last), "podman gives a tmpfs the mode of what it hides"


def test_everything_installed_is_pinned() -> None:
    commands = [part for word, rest in instructions() if word == "RUN" for part in re.split(r"&&|;", rest)]
    installs = [part for part in commands if re.search(r"\bpip\b.*\binstall\b", part)]
    assert len(installs) == 4
    assert all("--constraint constraints.txt" in part or "--no-deps --no-index" in part for part in installs)
    pinned = {_canonical(line.split("==")[0]) for line in (DOCKER / "constraints.txt").read_text().splitlines()}
    extras = PROJECT["optional-dependencies"]
    needed = [*PROJECT["dependencies"], *extras["train"], *extras["k8s"], "hatchling"]
    assert {_canonical(re.split(r"[\[<>=~! ]", name)[0]) for name in needed} <= pinned


def test_old_builders_understand_it() -> None:
    assert "<<" not in DOCKERFILE and "--link" not in DOCKERFILE, "podman 4.3 has neither heredocs nor COPY --link"


def test_image_has_the_habits_of_the_local_cluster() -> None:
    assert ENVIRONMENT.items() <= environment().items()


def test_image_has_every_extra_that_it_is_used_with() -> None:
    (listed,) = (
        rest for word, rest in instructions() if word == "RUN" and "requirements.txt" in rest and "tools" not in rest
    )
    program = re.search(r"python3 -c '(.*)' > requirements.txt", listed)
    assert program
    done = subprocess.run([sys.executable, "-c", program[1]], cwd=ROOT, capture_output=True, text=True, timeout=60)
    extras = PROJECT["optional-dependencies"]
    assert done.stdout.split("\n")[:-1] == PROJECT["dependencies"] + extras["train"] + extras["k8s"], done.stderr


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(pod["spec"], id=f"{name}-{role}")
        for name in ("examples/rayjob", "standing/cpu", "standing/gpu")
        for role, pod in pods_of(yaml.safe_load((K8S / f"{name}.yaml").read_text())).items()
    ],
)
def test_image_fits_the_pods_of_kubernetes(pod: dict[str, Any]) -> None:
    (user,) = (rest for word, rest in instructions() if word == "USER")
    (container,) = pod["containers"]
    context = pod["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == user
    # What is written to: the same folders as under compose, and the volume.
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    writable = {entry.split(":")[0] for entry in composed()["services"]["head"]["tmpfs"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] and set(mounts) - {"/storage"} == writable
    # The operator sets the command, which bash runs; the image's own entry point, if it had one, would be replaced.
    assert not {"command", "args"} & set(container)
    assert not any(word == "ENTRYPOINT" for word, _ in instructions())
    given = {entry["name"]: entry["value"] for entry in container["env"]}
    # A volume serves the jobs of several users, and a cache is read by the one who wrote it.
    assert "GANSVC_CACHE" not in given
    ours = {name for name in given if name in environment()}
    assert "HOME" in ours
    assert {name: given[name] for name in ours} == {name: environment()[name] for name in ours}


def test_context_is_small_and_whole() -> None:
    inside = {path: path.stat().st_size for path in files() if not ignored(path.relative_to(ROOT).as_posix())}
    assert 200_000 < sum(inside.values()) < 1_500_000
    names = {path.relative_to(ROOT).as_posix() for path in inside}
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    for source in (source for sources in copied for source in sources):
        assert any(name == source or name.startswith(f"{source}/") for name in names), source
    assert "service/gansvc/report/report.html.j2" in names
    assert not any(
        name.startswith((".git", ".venv", "tests", "jobs", "build")) or "__pycache__" in name for name in names
    )


@pytest.mark.parametrize(
    ("name", "out"),
    [
        (".git/config", True),
        ("service/gansvc/cli/app.py", False),
        ("service/gansvc/gan/__pycache__/x.pyc", True),
        ("service/gansvc.egg-info/PKG-INFO", True),
        ("docker/constraints.txt", False),
        ("docker/compose.yaml", True),
        ("docker/token", True),
    ],
)
def test_ignored_paths(name: str, out: bool) -> None:
    assert ignored(name) is out


def test_compose_services_are_hardened() -> None:
    services = composed()["services"]
    assert set(services) == {"head", "worker"}
    for service in services.values():
        assert not {"privileged", "network_mode", "cap_add", "devices", "pid", "ipc"} & set(service)
        assert service["user"] == "10001:10001" and service["read_only"] is True and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {entry.split(":")[0] for entry in service["tmpfs"]} == {"/tmp", "/home/gansvc"}
        assert service["mem_limit"] and float(service["cpus"]) > 0 and service["pids_limit"] and service["shm_size"]
        assert service["volumes"] == ["/data/jobs:/data/jobs"], "the same path on both sides"
        assert int(service["stop_grace_period"].removesuffix("s")) > 30, "Ray drains a node for so long"


def test_compose_listens_on_the_loopback_interface_alone() -> None:
    services = composed()["services"]
    assert services["head"]["ports"] == ["127.0.0.1:8265:8265"]
    assert "ports" not in services["worker"]


def test_compose_takes_the_token_from_a_file() -> None:
    whole = composed()
    assert whole["secrets"] == {"ray_token": {"file": "/data/token"}}
    for service in whole["services"].values():
        assert service["secrets"] == ["ray_token"]
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        assert "RAY_AUTH_TOKEN" not in service["environment"]


def test_compose_starts_as_many_workers_as_asked() -> None:
    assert composed()["services"]["worker"]["scale"] == "2"
    worker = composed(GANSVC_WORKERS="5", GANSVC_CPUS="3")["services"]["worker"]
    assert worker["scale"] == "5" and "--num-cpus=3" in worker["command"] and "--address=head:6379" in worker["command"]
    with pytest.raises(KeyError, match="GANSVC_STORAGE"):
        composed(GANSVC_STORAGE=None)


def test_gpu_overlay_adds_to_the_worker() -> None:
    (service, added), *others = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())["services"].items()
    assert service in composed()["services"] and not others
    (device,) = added["deploy"]["resources"]["reservations"]["devices"]
    # Workers that each ask for some GPUs would all be given the same ones.
    assert added["scale"] == 1 and device["count"] == "all" and device["capabilities"] == ["gpu"]


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ("/opt/gansvc/bin/python /opt/gansvc/bin/ray start --head --block", ["RAYLET", "CONTROL_STORE"]),
        ("/opt/gansvc/bin/python /opt/gansvc/bin/ray start --address=head:6379 --block", ["RAYLET"]),
        ("/opt/gansvc/bin/python /opt/gansvc/bin/gansvc submit job.yaml", []),
        ("/opt/gansvc/bin/python /opt/gansvc/bin/ray job submit -- start", []),
        ("sleep 100", []),
    ],
)
def test_health_asks_what_the_container_was_started_for(health: ModuleType, command: str, asked: list[str]) -> None:
    assert health.checks([["sh", "-c", "x"], command.split()]) == [getattr(health, name) for name in asked]


def test_health_reads_command_lines(health: ModuleType, tmp_path: Path) -> None:
    for pid, line in (("1", b"ray\0start\0--head\0"), ("22", b""), ("self", b"no number\0")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_bytes(line)
    (tmp_path / "33").mkdir()  # ended meanwhile
    assert sorted(health.commands(tmp_path)) == [[], ["ray", "start", "--head"]]
    own = Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").decode().split("\0")
    assert own in list(health.commands())


def test_health_wants_a_success(health: ModuleType) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path != "/503" else 503)
            self.end_headers()
            self.wfile.write(b"success" if self.path != "/other" else b"some other server")

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert health.answers(f"{address}/ok")
        assert not health.answers(f"{address}/503")
        assert not health.answers(f"{address}/other")
        server.shutdown()
    assert not health.answers(address), "nothing listens there any more"


def test_make_image_names_version_and_commit() -> None:
    command = ["make", "-n", "image", "ENGINE=podman", "PYTHON_IMAGE=base:1", "IMAGE_BUILD_ARGS=--pull=never"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "podman build --format docker" in printed and "PYTHON_IMAGE=base:1" in printed and "--pull=never" in printed
    assert "VERSION=" in printed and "COMMIT=" in printed
    docker = subprocess.run(
        [*command[:3], "ENGINE=docker"], cwd=ROOT, capture_output=True, text=True, timeout=60
    ).stdout
    assert "docker build  --file" in docker


@pytest.fixture
def health() -> ModuleType:
    spec = importlib.util.spec_from_file_location("health", DOCKER / "health.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def composed(**values: str | None) -> dict[str, Any]:
    """Return compose.yaml with its variables filled in; a variable that must be given and isn't is a KeyError."""
    given = {"GANSVC_STORAGE": "/data/jobs", "GANSVC_TOKEN_FILE": "/data/token"} | values

    def fill(found: re.Match[str]) -> str:
        name, kind, text = found.groups()
        if given.get(name) is not None:
            return str(given[name])
        if kind == "-":
            return str(text)
        raise KeyError(name)

    uncommented = re.sub(r"^\s*#.*$", "", COMPOSE, flags=re.MULTILINE)
    whole = yaml.safe_load(VARIABLE.sub(fill, uncommented))
    assert isinstance(whole, dict)
    # The number of processors and of workers are strings to some readers and numbers to others.
    for service in whole["services"].values():
        service |= {key: str(service[key]) for key in ("scale", "cpus") if key in service}
    return whole


def files() -> Iterator[Path]:
    """Yield the files of the project, those of heavy folders that are ignored as a whole left out."""
    for top in ROOT.iterdir():
        if top.is_file():
            yield top
        elif top.name not in (".git", ".venv", "build"):
            yield from (path for path in top.rglob("*") if path.is_file())


def ignored(name: str) -> bool:
    """Return whether .dockerignore leaves a path out: the last line that fits the path or a folder above it decides."""
    parts = name.split("/")
    above = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern, keep = line.removeprefix("!"), line.startswith("!")
            anywhere = pattern.removeprefix("**/")
            fits = any(
                fnmatch.fnmatch(path.rpartition("/")[2], anywhere)
                if pattern.startswith("**/")
                else fnmatch.fnmatchcase(path, pattern) and path.count("/") == pattern.count("/")
                for path in above
            )
            out = (not keep) if fits else out
    return out


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
