"""Cluster addresses, config files, names, standard input and ``cluster`` sections drawn at random; nobody is asked."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import zlib
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import example, given
from hypothesis import strategies as st

from gansvc import compatibility
from gansvc.client import visits
from gansvc.client.kuberay import connection
from gansvc.errors import ClusterError, SpecError
from gansvc.spec import jobfile
from gansvc.store.inspection import ANSWER as PREFIX
from gansvc.store.inspection import Answer, NodeFiles, NodeState

from .fuzzing import NASTY, Yard, cases, changed, damaged, junk, texts
from .specs import CLUSTER, JOB, TOKENS, valid

CONFIG: dict[str, Any] = {
    "profile": "lab",
    "profiles": {
        "lab": {"cluster": "https://ray.example:8265", "storage": "jobs", "token_file": "token", "ca_file": "ca.pem"},
        "kube": {"cluster": "k8s://lab/gansvc"},
    },
}


@pytest.fixture(autouse=True)
def _fresh(yard: Yard) -> None:
    fresh(yard)


def fresh(yard: Yard) -> None:
    """Lay out the job files, and take away what a case made."""
    yard.clear()
    connection._connect.cache_clear()
    yard.clear(yard.root / "home")
    yard.clear(yard.jobs)
    (yard.work / "job.yaml").write_text(pyyaml.safe_dump(JOB))
    (yard.work / "kube.yaml").write_text(pyyaml.safe_dump(JOB | {"cluster": CLUSTER}))


# Addresses

addresses = st.one_of(
    st.sampled_from(NASTY),
    st.sampled_from(
        (
            *("local", "LOCAL", "lab", "kube", "k8s", "k8s:", "k8s:/", "k8s://", "k8s:///", "k8s://a", "k8s://a/b/c"),
            *("k8s://a/UPPER", "k8s://\x1b[2J/b", "K8S://a/b", "http", "http:", "http://", "http:///x", "http://:8265"),
            *("http://127.0.0.1:0", "http://127.0.0.1:99999", "http://[::1", "http://[::1]:8265", "https://x:8265"),
            *("http://user:s3cret@ray.example:8265", "ray://x:10001", "ftp://x", "file:///etc", "http://a b", "auto"),
            *("http://x\r\nHost: y", "http://é.example", "http://xn--", "http://%00", "http://.", "http://a..b", "//x"),
            "http://" + "a" * 300,
        )
    ),
    st.builds("{}{}".format, st.sampled_from(("http://", "https://", "k8s://", "k8s://lab/", "http://x:")), texts),
).filter(lambda text: "\0" not in text)
sending = st.sampled_from(
    (
        *(("config",), ("config", "--json"), ("doctor",), ("doctor", "job.yaml"), ("doctor", "--json", "kube.yaml")),
        *(("prefetch", "job.yaml"), ("prefetch", "--json", "kube.yaml"), ("list",), ("list", "--json")),
        *(("submit", "--dry-run", "job.yaml"), ("submit", "--dry-run", "--json", "kube.yaml")),
        *(("submit", "--detach", "job.yaml"), ("submit", "--detach", "kube.yaml"), ("submit", "job.yaml", "--json")),
    )
)


@cases(30)
@given(sending, addresses, st.booleans())
@example(("submit", "--detach", "job.yaml"), "\udcff", False)
@example(("doctor",), "http://\udcff", False)
def test_any_address_is_asked_or_refused_and_no_job_is_left(
    yard: Yard, command: tuple[str, ...], address: str, by_profile: bool
) -> None:
    fresh(yard)
    if by_profile:
        config = {"profile": "mine", "profiles": {"mine": {"cluster": address}}}
        (yard.root / "home/config.yaml").write_bytes(pyyaml.safe_dump(config).encode("utf-8", "surrogateescape"))
    ended = yard.run(*command, *([] if by_profile else [f"--cluster={address}"]), asks=True)
    assert not list(yard.jobs.iterdir()), ended
    if command[0] == "submit" and "--dry-run" not in command:
        assert ended.code in (2, 3), "nobody answers here"
    assert "s3cret" not in ended.out + ended.err, ended


@cases(12)
@given(texts.filter(lambda text: "\0" not in text and "\ud800" not in text), st.booleans(), sending)
@example("\n", False, ("doctor",))
@example("é", True, ("submit", "--detach", "job.yaml"))
def test_a_token_is_shown_nowhere(yard: Yard, text: str, in_a_file: bool, command: tuple[str, ...]) -> None:
    fresh(yard)
    token = f"s3cr3t{text}s3cr3t"
    with pytest.MonkeyPatch.context() as patch:
        if in_a_file:
            config = {"profile": "lab", "profiles": {"lab": {"cluster": "https://x:8265", "token_file": "token"}}}
            (yard.root / "home/config.yaml").write_text(pyyaml.safe_dump(config))
            (yard.work / "token").write_bytes(token.encode("utf-8", "surrogateescape"))
        else:
            patch.setenv("RAY_AUTH_TOKEN", token)
        ended = yard.run(*command, *([] if in_a_file else ["--cluster=http://x:8265"]), asks=True)
    assert "s3cr3t" not in ended.out + ended.err, ended


# Config files


@cases(30)
@given(sending, st.data())
@example(("config",), b"profiles: {lab: {cluster: \xff}}")
@example(("config",), b"profiles: []")
@example(("config", "lab.cluster", "x"), b"profiles: 3")
@example(("config", "lab.cluster", "x"), b"profiles: {lab: 3}")
@example(("list",), b"profiles: {lab: {storage: '\\0'}}\nprofile: lab")
def test_any_config_file_is_read_or_refused(yard: Yard, command: tuple[str, ...], data: st.DataObject | bytes) -> None:
    fresh(yard)
    if isinstance(data, bytes):
        content = data
    else:
        whole = pyyaml.safe_dump(CONFIG).encode()
        content = data.draw(
            st.one_of(
                changed(CONFIG).map(lambda found: pyyaml.safe_dump(found).encode("utf-8", "replace")),
                damaged(whole),
                st.lists(st.sampled_from((*TOKENS, "profiles: ", "lab: ", "cluster: ")), max_size=12).map(
                    lambda words: "".join(words).encode("utf-8", "surrogatepass")
                ),
            )
        )
    (yard.root / "home/config.yaml").write_bytes(content)
    ended = yard.run(*command, asks=True)
    assert ended.code in (0, 2, 3)
    assert (yard.root / "home/config.yaml").read_bytes() == content or (command[0], ended.code) == ("config", 0)


keys = st.one_of(
    st.sampled_from(
        (
            "profile",
            "lab.cluster",
            "lab.cluster",
            "lab.storage",
            "local.cluster",
            "lab.token_file",
            "lab.x",
            "A.cluster",
        )
    ),
    st.sampled_from(NASTY),
    st.builds("{}.{}".format, texts, st.sampled_from(("cluster", "storage", "ca_file"))),
).filter(lambda text: "\0" not in text)


@cases(20)
@given(keys, texts.filter(lambda text: "\0" not in text))
@example("lab.cluster", "\udcff")
@example("lab.cluster", "\x85")
@example("lab.cluster", "null")
@example("1e999.ca_file", "x")
def test_what_config_sets_it_shows(yard: Yard, key: str, value: str) -> None:
    fresh(yard)
    ended = yard.run("config", "--", key, value)
    assert ended.code in (0, 2)
    shown = yard.run("config", "--json", asks=True)
    assert shown.code == 0, "what was set can be read"
    if ended.code == 0 and key == "lab.cluster" and value:
        yard.run("config", "profile", "lab")
        assert json.loads(yard.run("config", "--json").out)["cluster"]["value"] == value


KUBECONFIG: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "lab",
    "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me", "namespace": "gansvc"}}],
    "clusters": [
        {"name": "lab", "cluster": {"server": "https://127.0.0.1:6443", "certificate-authority-data": "AA=="}}
    ],
    "users": [{"name": "me", "user": {"token": "s3cr3t"}}],
}


@cases(15)
@given(st.one_of(changed(KUBECONFIG).map(json.dumps), damaged(json.dumps(KUBECONFIG).encode())), st.booleans())
@example("{}", False)
@example("- 1", True)
def test_any_kubeconfig_is_used_or_refused(yard: Yard, content: str | bytes, named: bool) -> None:
    fresh(yard)
    (yard.root / "home/kubeconfig").write_bytes(content if isinstance(content, bytes) else content.encode())
    ended = yard.run(
        "submit", "--detach", "kube.yaml", f"--cluster={'k8s://lab/gansvc' if named else 'k8s'}", asks=True
    )
    assert ended.code in (2, 3) and "s3cr3t" not in ended.out + ended.err, ended


# What is sent


@cases(25)
@given(texts.filter(lambda text: "\0" not in text), st.sampled_from(("job.yaml", "kube.yaml")))
@example("a" * 40, "job.yaml")
@example("a" * 24, "kube.yaml")
@example("1a", "kube.yaml")
def test_a_name_is_taken_if_it_is_one(yard: Yard, name: str, file: str) -> None:
    ended = yard.run("submit", file, "--dry-run", f"--name={name}", "--json")
    form = r"[a-z]([a-z0-9-]{0,21}[a-z0-9])?" if file == "kube.yaml" else r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"
    assert (ended.code == 0) == bool(re.fullmatch(form, name)), ended
    if ended.code == 0:
        assert json.loads(ended.out)["spec"]["name"] == name


@cases(20)
@given(st.data())
def test_standard_input_is_read_as_a_file_is(yard: Yard, data: st.DataObject) -> None:
    whole = data.draw(st.one_of(valid(), st.just(JOB), changed(JOB)))
    content = pyyaml.safe_dump(whole).encode("utf-8", "replace")
    if data.draw(st.booleans()):
        content = data.draw(damaged(content))
    (yard.work / "job.yaml").write_bytes(content)
    from_file = yard.run("validate", "job.yaml", "--json")
    assert yard.run("validate", "-", "--json", stdin=content).out == from_file.out
    assert yard.run("submit", "-", "--dry-run", stdin=content).code in (from_file.code, 2)


@cases(30)
@given(st.data())
def test_any_cluster_section_makes_a_rayjob_or_is_refused(yard: Yard, data: st.DataObject) -> None:
    section = data.draw(st.one_of(changed(CLUSTER, most=1), changed(CLUSTER), junk))
    (yard.work / "kube.yaml").write_bytes(pyyaml.safe_dump(JOB | {"cluster": section}).encode("utf-8", "replace"))
    checked = yard.run("validate", "kube.yaml")
    ended = yard.run("submit", "kube.yaml", "--cluster=k8s://lab/gansvc", "--dry-run", "--json")
    assert checked.code in (0, 2) and ended.code in (checked.code, 2), ended
    if ended.code == 0:
        made = json.loads(ended.out)["manifest"]
        assert made["kind"] == "RayJob" and len(made["metadata"]["name"]) <= 47
        assert made["spec"]["entrypoint"].startswith("exec python -P -m gansvc.pipeline --job a-")


def test_the_cluster_section_of_these_tests_is_sound(yard: Yard) -> None:
    ended = yard.run("submit", "kube.yaml", "--cluster=k8s", "--dry-run", "--json")
    assert ended.code == 0 and json.loads(ended.out)["manifest"]["kind"] == "RayJob"
    (yard.root / "home/config.yaml").write_text(pyyaml.safe_dump(CONFIG))
    assert yard.run("config").code == 0


# What reaches the cluster


def test_a_word_that_stands_for_a_thousand_times_as_much_is_refused_unread(yard: Yard) -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(b"# " * 2**19) for _ in range(64)) + packer.flush()
    with yard.watched(), pytest.raises(SpecError, match="larger than 64 KiB"):
        jobfile.unpack(base64.b64encode(bomb).decode())


@cases(20)
@given(st.one_of(st.text(max_size=60), valid().map(lambda data: jobfile.pack(jobfile.validate(data)))), st.data())
@example("é", None)
def test_any_packed_spec_is_read_or_refused(yard: Yard, word: str, data: st.DataObject | None) -> None:
    if data is not None:
        word = data.draw(st.one_of(st.just(word), damaged(word.encode()).map(lambda raw: raw.decode("latin-1"))))
    with yard.watched():
        try:
            jobfile.unpack(word)
        except SpecError as error:
            assert len(str(error)) < 5000


ANSWER = Answer(
    nodes=(NodeState(node="a (1)", cpus=2, gpus=0, torch="2"),),
    files=(NodeFiles(node="a (1)", files={"x.npz": "fetched"}),),
    warnings=("one",),
)


@cases(30)
@given(st.data())
def test_any_answer_of_a_cluster_is_read_or_refused(data: st.DataObject) -> None:
    whole = json.loads(ANSWER.model_dump_json())
    text = data.draw(
        st.one_of(
            changed(whole).map(json.dumps),
            damaged(json.dumps(whole).encode()).map(lambda raw: raw.decode(errors="replace")),
            texts,
        )
    )
    with contextlib.suppress(ClusterError, SpecError):
        found = visits.parse_answer(f"2026 a line\n{PREFIX}{text}\n")
        assert all(isinstance(node, NodeState) for node in found.nodes)
    assert visits.parse_answer(ANSWER.line()) == ANSWER


@cases(20)
@given(st.one_of(texts, st.builds("gansvc={},ray={}".format, texts, texts)))
def test_any_versions_fit_or_are_refused(text: str) -> None:
    for judge in (compatibility.check_client, compatibility.check_ray):
        try:
            assert all(isinstance(warning, str) for warning in judge(text))
        except ClusterError as error:
            assert "gansvc" in str(error)
