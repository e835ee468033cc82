"""The configuration of docs/channels.md, served as printed."""

import base64
import ssl
from pathlib import Path

import pytest
import trustme
from websockets.exceptions import InvalidStatus

from tests.docs.shell import blocks
from tests.flow.channel_site import Site, dial, running
from tests.support.harness import proxy

CONFIGURATIONS = [block.text for block in blocks("toml") if block.document == "docs/channels.md"]


def test_the_terminal_of_the_document_leads_to_the_runner(tmp_path: Path) -> None:
    (text,) = [text for text in CONFIGURATIONS if "gitlab" not in text]
    (tmp_path / "secret").write_bytes(b"k" * 32)
    (tmp_path / "secret").chmod(0o600)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    runner = Site()
    app = Site(
        permission={
            "headers": {"Authorization": "only for the runner"},
            "ca_pem": authority.cert_pem.bytes().decode(),
        }
    )
    with running(app), running(runner, context):
        app.permission["url"] = f"wss://localhost:{runner.port}/session/9/exec"
        text = text.replace('"secret"', f'"{tmp_path / "secret"}"')
        text = text.replace("127.0.0.1:3000", f"127.0.0.1:{app.port}")
        text = text.replace("runner.internal:8093", f"localhost:{runner.port}")
        with proxy(text) as front:
            with dial(front.port, "/jobs/7/terminal.ws") as client:
                client.send("ls")
                assert client.recv(timeout=20) == "ls"
            assert app.asked[0].path == "/jobs/7/terminal.ws/authorize"
            assert runner.opened[0].headers["Authorization"] == "only for the runner"
            app.status = 401
            refused = pytest.raises(InvalidStatus, match="401")
            with refused, dial(front.port, "/jobs/8/terminal.ws"):
                pass


def test_gitlabs_job_terminal_leads_to_the_session_of_the_runner(tmp_path: Path) -> None:
    (text,) = [text for text in CONFIGURATIONS if "project_jobs_terminal_ws" in text]
    (tmp_path / "secret").write_bytes(base64.b64encode(b"k" * 32))
    (tmp_path / "secret").chmod(0o600)
    rails, runner = Site(kind="application/vnd.gitlab-workhorse+json"), Site()
    offered = ["terminal.gitlab.com"]
    with running(rails), running(runner, subprotocols=offered):
        channel = {"Subprotocols": offered, "Url": f"ws://127.0.0.1:{runner.port}/session/x/exec"}
        rails.permission = {"Channel": {**channel, "Header": {"Authorization": ["token"]}}}
        text = text.replace(".gitlab_workhorse_secret", str(tmp_path / "secret"))
        text = text.replace("127.0.0.1:3000", f"127.0.0.1:{rails.port}")
        text = text.replace("runner-1.internal:8093", f"127.0.0.1:{runner.port}")
        with proxy(text) as front:
            for path in ("/group/project/-/jobs/7/terminal.ws", "/a/b/c/-/jobs/7/proxy.ws"):
                with dial(front.port, path, subprotocols=offered) as client:
                    client.send("ls")
                    assert client.recv(timeout=20) == "ls"
                    assert client.subprotocol == "terminal.gitlab.com"
            assert rails.asked[0].path == "/group/project/-/jobs/7/terminal.ws/authorize"
            assert {each.headers["Authorization"] for each in runner.opened} == {"token"}


def test_the_terminal_of_an_environment_leads_to_kubernetes(tmp_path: Path) -> None:
    (text,) = [text for text in CONFIGURATIONS if "environments" in text]
    (tmp_path / "secret").write_bytes(base64.b64encode(b"k" * 32))
    (tmp_path / "secret").chmod(0o600)
    rails, cluster = Site(kind="application/vnd.gitlab-workhorse+json"), Site()
    with running(rails), running(cluster, subprotocols=["channel.k8s.io"]):
        url = f"ws://127.0.0.1:{cluster.port}/api/v1/namespaces/x/pods/y/exec?tty=true"
        rails.permission = {"Channel": {"Subprotocols": ["channel.k8s.io"], "Url": url}}
        text = text.replace(".gitlab_workhorse_secret", str(tmp_path / "secret"))
        text = text.replace("127.0.0.1:3000", f"127.0.0.1:{rails.port}")
        text = text.replace("kubernetes.internal:6443", f"127.0.0.1:{cluster.port}")
        with proxy(text) as front:
            path = "/group/project/-/environments/7/terminal.ws"
            with dial(front.port, path, subprotocols=["terminal.gitlab.com"]) as client:
                client.send(b"ls")
                assert client.recv(timeout=20) == b"ls", "it echoes, on stream 0"
