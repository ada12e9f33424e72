"""Where jobs go and are kept: which of flag, environment, profile and default wins; what the config file may hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gansvc.client import access, config, configfile
from gansvc.errors import SpecError

from ..builders.commands import Run

LAB, OTHER = "https://lab.example:8265", "http://10.0.0.5:8265"
PROFILES = f"""
profile: lab
profiles:
  lab: {{cluster: "{LAB}/", storage: s3://bucket/jobs, token_file: lab.token}}
  other: {{cluster: "{OTHER}"}}
"""


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("GANSVC_STORAGE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    return run


def write(text: str = PROFILES) -> None:
    configfile.path().write_text(text)


def test_the_file_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANSVC_CONFIG", str(tmp_path / "mine.yaml"))
    assert configfile.path() == tmp_path / "mine.yaml"
    monkeypatch.delenv("GANSVC_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert configfile.path() == tmp_path / "xdg/gansvc/config.yaml"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert configfile.path() == tmp_path / ".config/gansvc/config.yaml"


# From the weakest to the strongest: each step adds one place that says something else.
@pytest.mark.usefixtures("run")
def test_a_flag_beats_the_environment_beats_the_profile_beats_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.cluster() == ("local", "default")
    assert config.storage() == ("~/gansvc-jobs", "default")
    write()
    assert config.cluster() == (f"{LAB}/", "profile lab")
    assert config.storage() == ("s3://bucket/jobs", "profile lab")
    monkeypatch.setenv("GANSVC_CLUSTER", "http://127.0.0.1:8265")
    monkeypatch.setenv("GANSVC_STORAGE", "/data/jobs")
    assert config.cluster() == ("http://127.0.0.1:8265", "GANSVC_CLUSTER")
    assert config.storage() == ("/data/jobs", "GANSVC_STORAGE")
    assert config.cluster("local") == ("local", "--cluster")
    assert config.storage("/here") == ("/here", "--storage")


@pytest.mark.usefixtures("run")
def test_a_profile_is_named_where_an_address_is(monkeypatch: pytest.MonkeyPatch) -> None:
    write(PROFILES.replace("profile: lab", "profile: other"))
    assert config.cluster("lab") == (f"{LAB}/", "profile lab, by --cluster")
    assert config.storage(None, "lab").value == "s3://bucket/jobs"
    assert config.storage() == ("~/gansvc-jobs", "default"), "the profile in use names no storage"
    monkeypatch.setenv("GANSVC_CLUSTER", "lab")
    assert config.cluster() == (f"{LAB}/", "profile lab, by GANSVC_CLUSTER")
    assert config.storage().value == "s3://bucket/jobs"


@pytest.mark.usefixtures("run")
def test_a_token_goes_to_its_own_address_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    (tmp_path / "lab.token").write_text("secret-of-lab\n")
    assert access.resolve(LAB).token == "secret-of-lab"
    for address in (OTHER, "https://lab.example:8266", "http://lab.example:8265", "https://lab.example.org:8265"):
        assert access.resolve(address).token is None
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the environment")
    assert access.resolve(LAB).token == "of the environment"
    assert "secret" not in repr(access.resolve(LAB))
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    (tmp_path / "lab.token").unlink()
    with pytest.raises(SpecError, match=r"token_file \(profile lab\): .*lab.token can't be read"):
        access.resolve(LAB)


def test_config_sets_shows_and_takes_out(run: Run, tmp_path: Path) -> None:
    assert run("config", "lab.cluster", LAB) == (0, f"{tmp_path / 'config.yaml'}\n", "")
    run("config", "lab.token_file", "lab.token")
    run("config", "lab.storage", "s3://bucket/jobs")
    run("config", "profile", "lab")
    (tmp_path / "lab.token").write_text("secret-of-lab")
    shown = json.loads(run("config", "--json")[1])
    assert shown["cluster"] == {"value": LAB, "from": "profile lab"}
    assert shown["storage"] == {"value": "s3://bucket/jobs", "from": "profile lab"}
    assert shown["token"] == {"value": str(tmp_path / "lab.token"), "from": "profile lab"}
    assert shown["certificates"] == {"value": "", "from": "default"}
    table = run("config", "--cluster", OTHER)[1]
    assert OTHER in table and "--cluster" in table and "lab.token" not in table
    assert run("config", "lab.storage", "")[0] == 0
    assert config.storage() == ("~/gansvc-jobs", "default") and config.cluster().value == LAB
    run("config", "profile", "")
    assert config.cluster().value == "local"


def test_a_token_is_never_printed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    (tmp_path / "lab.token").write_text("secret-of-lab")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret-of-env")
    for args in (["config"], ["config", "--json"]):
        code, out, err = run(*args)
        assert code == 0 and "secret" not in out + err and "RAY_AUTH_TOKEN" in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["lab.clustr", LAB], "did you mean 'cluster'"),
        (["lab.token", "hunter2"], "known: ca_file, cluster, storage, token_file"),
        (["local.cluster", LAB], "local is no profile"),
        (["Lab!.cluster", LAB], "Lab!"),
        (["cluster", LAB], "NAME.cluster"),
        (["profile", "lba"], "unknown profile 'lba'"),
        (["profile"], "KEY and VALUE"),
    ],
)
def test_what_cannot_be_set_exits_2_and_writes_nothing(run: Run, args: list[str], words: str) -> None:
    code, out, err = run("config", *args)
    assert code == 2 and words in err and out == "" and not configfile.path().exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("profile: lab", "unknown profile 'lab'"),
        ("profiles: {lab: {token: hunter2}}", "profiles.lab"),
        ("profiles: [lab]", "profiles"),
        ("- lab", "no mapping"),
        ("profile: [", "not valid YAML"),
        ("a: &a 1\nb: *a", "aliases"),
        ("x" * 70_000, "larger than 64 KiB"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_a_bad_file_is_one_sentence(run: Run, text: str, words: str) -> None:
    write(text)
    code, out, err = run("config")
    assert code == 2 and words in err and str(configfile.path()) in err and len(err.splitlines()) == 1 and not out
    assert run("list")[0] == 2


def test_a_folder_or_binary_in_its_place_is_one_sentence(run: Run) -> None:
    configfile.path().write_bytes(b"\xff\xfe\x00")
    assert run("config")[0] == 2
    configfile.path().unlink()
    configfile.path().mkdir()
    code, _, err = run("config")
    assert code == 2 and "can't be read" in err
