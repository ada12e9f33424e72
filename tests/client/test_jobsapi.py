"""A cluster elsewhere: the local one behind a TLS proxy, reached by a profile with a token file and a CA file."""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from gansvc import api
from gansvc.cli import app
from gansvc.client import access, configfile, jobsapi, local
from gansvc.errors import ClusterError
from gansvc.spec import jobfile
from gansvc.spec.job import JobSpec
from gansvc.store import submissions
from gansvc.store.records import FINAL_PHASES

pytestmark = pytest.mark.ray
OFFICIAL = Path(__file__).parents[3] / "shared" / "data" / "medmnist"


@dataclass
class Proxy:
    """A cluster's Jobs API behind TLS, and all that was asked of it."""

    url: str
    certificate: Path
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Method, path and body of every request."""


@pytest.fixture(scope="module")
def proxy(cluster: local.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl isn't installed, so no certificate can be made")
    folder = tmp_path_factory.mktemp("tls")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=gansvc test"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key"), "-out", str(folder / "pem")]
    subprocess.run(made, check=True, capture_output=True)
    state, behind = Proxy("", folder / "pem"), urlsplit(cluster.dashboard).netloc

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.asked.append((self.command, self.path, body))
            connection = http.client.HTTPConnection(behind, timeout=60)
            connection.request(self.command, self.path, body, dict(self.headers))
            reply = connection.getresponse()
            answer = reply.read()
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.getheader("Content-Type") or "text/plain")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            connection.close()

        do_GET = do_POST = do_PUT = do_DELETE = _pass_on

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pem", folder / "key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        state.url = f"https://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def lab(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a profile for the cluster behind the proxy."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "REQUESTS_CA_BUNDLE", "GANSVC_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "token").write_text(local.token() or "")
    (tmp_path / "token").chmod(0o600)
    configfile.change("lab.cluster", proxy.url)
    configfile.change("lab.token_file", str(tmp_path / "token"))
    configfile.change("lab.ca_file", str(proxy.certificate))
    configfile.change("lab.storage", str(tmp_path / "jobs"))
    proxy.asked.clear()
    return "lab"


def command(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        app.main(args)
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


def test_its_certificate_must_be_trusted_and_its_token_fit(
    proxy: Proxy, lab: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert jobsapi.check(access.resolve(proxy.url)) == version("ray")
    configfile.change("lab.ca_file", "")
    for bundle in (None, local.home() / "auth_token"):
        if bundle:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        with pytest.raises(ClusterError) as caught:
            jobsapi.check(access.resolve(proxy.url))
        assert bundle or ("isn't trusted here" in str(caught.value) and "lab" not in str(caught.value))
        assert "\n" not in str(caught.value)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(proxy.certificate))
    assert jobsapi.check(access.resolve(proxy.url)) == version("ray")
    (tmp_path / "token").write_text("wrong")
    with pytest.raises(ClusterError, match="refuses the token"):
        jobsapi.check(access.resolve(proxy.url))


def test_a_submission_is_the_spec_alone_and_another_version_is_refused_there(
    proxy: Proxy, lab: str, tiny: Callable[..., JobSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large.bin").write_bytes(b"x" * 1_000_000)
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gansvc.compatibility.local_versions", lambda: "gansvc=9.9.9,ray=2.60.0,python=3.11.0")
    said: list[str] = []
    job = api.submit(tiny(), lab, None, said.append)
    assert job.folder == str(tmp_path / "jobs" / job.id) and said == []

    # What was sent: one request with a body, the spec inside the entrypoint, and no package.
    sent = [(path, body) for method, path, body in proxy.asked if method != "GET"]
    assert [path for path, _ in sent] == ["/api/jobs/"] and not any("packages" in path for _, path, _ in proxy.asked)
    payload = json.loads(sent[0][1])
    assert payload.get("runtime_env", {}) == {} and len(sent[0][1]) < 5_000
    words = payload["entrypoint"].split()
    assert jobfile.unpack(words[words.index("--spec") + 1]) == tiny()
    where = submissions.last(job)
    assert where is not None and where.address == proxy.url
    secrets = [path.read_bytes() for path in Path(job.folder).rglob("*") if path.is_file()]
    assert not any((local.token() or "?").encode() in content for content in [*secrets, sent[0][1]])

    deadline = time.monotonic() + 120
    while (status := api.status(job)).phase not in FINAL_PHASES and time.monotonic() < deadline:
        time.sleep(0.5)
    assert status.phase == "FAILED" and "the client 9.9.9" in status.error, status
    assert not (Path(job.folder) / "train").exists()
    assert jobsapi._client(access.resolve(proxy.url)).get_job_info(job.id).runtime_env in (None, {})


def test_the_doctor_looks_at_the_nodes(
    proxy: Proxy, lab: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.yaml").write_text(
        "name: small\ndataset: {name: mnist, root: %s}\nlosses: [lsgan]\nevaluation: {extractor: efficientnet-lite0}"
        % (tmp_path / "mnist")
    )
    code, out, err = command(capsys, "doctor", str(tmp_path / "job.yaml"), "--cluster", lab, "--json")
    checks = {check["name"]: check for check in json.loads(out)}
    assert code == 0, (out, err)
    assert checks["workers"]["found"].startswith("1 of 1 answer") and checks["reached"]["found"].startswith("Ray 2.")
    assert checks["storage"]["state"] == checks["token"]["state"] == checks["weights"]["state"] == "ok"
    assert checks["data set"]["state"] == "note" and str(tmp_path / "mnist") in checks["data set"]["mend"]
    assert list((tmp_path / "jobs").iterdir()) == [] and (local.token() or "?") not in out + err
    listed = jobsapi._client(access.resolve(proxy.url)).list_jobs()
    assert not [job for job in listed if (job.submission_id or "").startswith("gansvc-visit")]
    code, out, _ = command(capsys, "doctor", "--cluster", lab, "--storage", str(tmp_path / "token"), "--json")
    faults = [check["name"] for check in json.loads(out) if check["state"] == "fault"]
    assert code == 3 and faults == ["storage"]


def test_prefetch_says_what_each_node_has(lab: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "job.yaml").write_text(
        "name: small\ndataset: {name: breastmnist, root: %s}\nlosses: [lsgan]\n"
        "evaluation: {extractor: efficientnet-lite0}" % (tmp_path / "root")
    )
    asked = ("prefetch", str(tmp_path / "job.yaml"), "--cluster", lab, "--from")
    code, out, err = command(capsys, *asked, str(tmp_path / "empty"))
    assert code == 3 and "download failed" in err and len(err.splitlines()) == 1
    if not (OFFICIAL / "breastmnist.npz").is_file():
        pytest.skip(f"the official breastmnist.npz is not in {OFFICIAL}")
    code, out, err = command(capsys, *asked, str(OFFICIAL))
    assert code == 0 and f"breastmnist.npz fetched to {tmp_path / 'root' / 'breastmnist.npz'}" in out, err
    assert "found at" in command(capsys, *asked, str(OFFICIAL))[1]
