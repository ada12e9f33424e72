"""An address that carries a secret is refused before anything is printed, kept or sent, whatever command it is for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gansvc.catalog import downloads
from gansvc.client import access
from gansvc.errors import ClusterError, SpecError

from ..fuzz.finished import ID
from ..fuzz.fuzzing import Yard, opened
from ..fuzz.specs import CLUSTER, JOB

STORAGES = (
    *("s3://AKIA:hush@bucket/jobs", "s3://hush@bucket/jobs", "s3://AKIA:hu/hush@bucket/jobs", "gs://a:hush@bucket"),
    *("abfs://container:hush@account.dfs.core.windows.net/x", "s3://bucket/jobs?access_key=hush", "s3://bucket#hush"),
    *("file://user:hush@host/jobs", "S3://AKIA:hush@bucket/jobs", "s3://AKIA:hush@bucket/\x1b"),
)
CLUSTERS = (
    *("http://user:hush@ray.example:8265", "https://hush@ray.example", "HTTPS://u:hu/hush@ray.example:8265"),
    *("user:hush@ray.example:8265", "http://ray.example:8265/?token=hush", "http://ray.example:8265/#hush"),
    *("ray://user:hush@ray.example:10001", "http://ray.example\\u:hush@x"),
)


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    with opened(tmp_path_factory.mktemp("yard")) as yard:
        (yard.work / "job.yaml").write_text(yaml.safe_dump(JOB))
        without_volume = {name: value for name, value in CLUSTER.items() if name != "volume"}
        (yard.work / "kube.yaml").write_text(yaml.safe_dump(JOB | {"cluster": without_volume}))
        yield yard


COMMANDS = (
    *(("list",), ("status",), ("status", ID), ("report",), ("logs",), ("stop",), ("resume",), ("pull",), ("config",)),
    *(("doctor",), ("doctor", "kube.yaml", "--cluster=k8s"), ("compare", "a", "b"), ("list", "--cluster=k8s")),
    *(("submit", "job.yaml"), ("submit", "job.yaml", "--dry-run", "--json"), ("submit", "kube.yaml", "--cluster=k8s")),
    *(("submit", "kube.yaml", "--cluster=k8s", "--dry-run"), ("submit", "job.yaml", "--cluster=http://x:8265")),
)


def refused(yard: Yard, *args: str) -> None:
    """Make sure that a command refuses what it is given, repeats no secret, and keeps nothing."""
    before = yard.files()
    ended = yard.run(*args, asks=True)
    assert ended.code == 2 and "hush" not in ended.out + ended.err and "AKIA" not in ended.out + ended.err, ended
    assert yard.files() == before


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", ["flag", "variable", "profile"])
def test_a_key_in_the_storages_address_is_refused_by_every_command(
    yard: Yard, command: tuple[str, ...], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "flag" and command[0] == "compare":
        command = (*command, "--storage", STORAGES[0])
    elif place == "flag":
        command = (command[0], "--storage", STORAGES[0], *command[1:])
    elif place == "variable":
        _set_storage(monkeypatch, STORAGES[0])
    else:
        _set_storage(monkeypatch, "")
        profile = {"profile": "lab", "profiles": {"lab": {"storage": STORAGES[0]}}}
        (yard.root / "home/config.yaml").write_text(yaml.safe_dump(profile))
    refused(yard, *command)
    (yard.root / "home/config.yaml").unlink(missing_ok=True)


def _set_storage(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    usual = Yard.variables
    monkeypatch.setattr(Yard, "variables", lambda yard: usual(yard) | {"GANSVC_STORAGE": value})


@pytest.mark.parametrize("storage", STORAGES)
def test_every_form_of_such_an_address_is_refused(yard: Yard, storage: str) -> None:
    refused(yard, "submit", "kube.yaml", "--cluster=k8s", "--dry-run", "--storage", storage)
    refused(yard, "list", "--storage", storage)
    refused(yard, "status", storage)
    refused(yard, "config", "lab.storage", storage)
    refused(yard, "prefetch", "job.yaml", "--from", storage)


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize(
    "command", [("config",), ("doctor",), ("submit", "job.yaml"), ("submit", "job.yaml", "--dry-run"), ("list",)]
)
def test_a_password_in_a_clusters_address_is_refused(yard: Yard, cluster: str, command: tuple[str, ...]) -> None:
    if "--dry-run" not in command and command[0] != "list":
        refused(yard, *command, "--cluster", cluster, "--storage", str(yard.jobs))
    refused(yard, "config", "lab.cluster", cluster)
    with pytest.raises(SpecError) as caught:
        access.resolve(cluster)
    assert "hush" not in str(caught.value)


def test_a_context_with_an_at_sign_is_no_password(yard: Yard) -> None:
    ended = yard.run("config", "--cluster=k8s://kubernetes-admin@kubernetes/gansvc", "--json")
    assert json.loads(ended.out)["cluster"]["value"] == "k8s://kubernetes-admin@kubernetes/gansvc"


@pytest.mark.parametrize("mirror", [*STORAGES, *(address for address in CLUSTERS if "://" in address)])
def test_a_mirror_with_a_secret_is_refused_and_not_repeated(
    mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GANSVC_MIRROR", mirror)
    monkeypatch.setattr(downloads, "PAUSES", ())
    with pytest.raises(ClusterError, match="GANSVC_MIRROR") as caught:
        downloads.fetch("https://example.org/x.npz", tmp_path / "x.npz", "00", "fetch it yourself")
    assert "hush" not in str(caught.value) + capsys.readouterr().err


def test_a_password_in_a_path_of_a_spec_is_refused(yard: Yard) -> None:
    path = "{name: npz, path: 's3://AKIA:hush@bucket/x.npz'}"
    refused(yard, "submit", "job.yaml", "--dry-run", "--set", f"dataset={path}")


def test_a_token_over_plain_http_is_told_of_by_every_command_once(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = yard.jobs / ID
    folder.mkdir()
    status = {"job": ID, "name": "small", "started": 1.0, "updated": 2.0}
    (folder / "submission.json").write_text(json.dumps({"address": "http://ray.example:8265", "submitted": 1.0}))
    (folder / "job.yaml").write_text(yaml.safe_dump(JOB))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cr3t")
    says = "the token goes to http://ray.example:8265 unencrypted; use https, or a tunnel to it"
    sent = ("submit", "job.yaml", "--cluster=http://ray.example:8265", "--storage", str(yard.jobs))
    for command in (("resume",), ("status",), ("logs",), ("stop",), ("list",), sent):
        (folder / "status.json").write_text(
            json.dumps(status | {"phase": "FAILED" if command == ("resume",) else "TRAINING"})
        )
        access._warn_of_plain_token.cache_clear()
        caplog.clear()
        yard.run(*command, asks=True)
        assert caplog.messages.count(says) == 1, command
