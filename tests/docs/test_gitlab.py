"""The route table for GitLab: it is good, takes Workhorse's requests, and a Rails believes it."""

import base64
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastproxy.config.check import load_judged
from fastproxy.config.problems import Severity
from fastproxy.routes import RouteTable
from tests.docs.shell import ROOT, blocks, shell
from tests.docs.test_commands import completed
from tests.flow.upload_site import SECRET
from tests.support.harness import Proxy, proxy
from tests.support.monolith import Asked, Said
from tests.support.rails import Rails, form_of, permit, rails

TEXT = (ROOT / "contrib/gitlab/fastproxy.toml").read_text("utf-8")
FORM = (
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\nzip\r\n--B--\r\n'
)
PROJECT = "/api/v4/projects/group%2Fsub%2Fproject"

# Workhorse's routing table: what comes, and the kind of handler that it has there.
REQUESTS = {
    "upload": [
        f"PUT {PROJECT}/packages/generic/p/1.0/f.bin",
        "PUT /api/v4/projects/7/packages/maven/a/b/1/b.jar",
        f"PUT {PROJECT}/packages/npm/@scope%2fname",
        "PUT /api/v4/packages/conan/v1/files/a/1/b/c/0/export/conanfile.py",
        f"PUT {PROJECT}/packages/conan/v1/files/a",
        f"PUT {PROJECT}/packages/debian/a_1.deb",
        f"POST {PROJECT}/packages/rpm",
        f"POST {PROJECT}/packages/rubygems/api/v1/gems",
        f"PUT {PROJECT}/packages/terraform/modules/m/aws/1.0/file",
        f"PUT {PROJECT}/packages/ml_models/1/files/m",
        f"POST {PROJECT}/terraform/state/production",
        f"POST {PROJECT}/repository/commits",
        f"PUT {PROJECT}/repository/files/a%2Fb.txt",
        "PUT /group/project.git/gitlab-lfs/objects/" + "ab" * 32 + "/12",
    ],
    "form": [
        "POST /api/v4/jobs/7/artifacts?artifact_format=zip",
        f"PUT {PROJECT}/packages/nuget/",
        f"POST {PROJECT}/packages/pypi",
        f"POST {PROJECT}/packages/helm/api/stable/charts",
        f"POST {PROJECT}/uploads",
        f"POST {PROJECT}/wikis/attachments",
        f"PUT {PROJECT}",
        "PUT /api/v4/groups/a%2Fb",
        "POST /api/graphql",
        "POST /api/v4/projects/import",
        "POST /import/gitlab_project",
        "POST /group/sub/project/uploads",
        "POST /uploads/user",
        "PUT /api/v4/user/avatar",
        "POST /-/profile",
    ],
    "git": [
        "GET /group/project.git/info/refs?service=git-upload-pack",
        "POST /group/project.git/git-upload-pack",
    ],
    "proxy": [
        "POST /group/project.git/git-receive-pack",
        f"POST {PROJECT}/terraform/state/production/lock",
        f"PUT {PROJECT}/packages/npm/-/package/@scope%2Fname/dist-tags/latest",
        "POST /api/v4/jobs/request",
        "PUT /api/v4/jobs/7",
        f"GET {PROJECT}/packages/generic/p/1.0/f.bin",
        "GET /-/cable",
        "GET /-/readiness",
        "GET /group/project/-/blob/main/README.md",
        "DELETE /api/v4/projects/7",
    ],
    "channel": [
        "GET /group/sub/project/-/jobs/7/terminal.ws",
        "GET /group/project/-/jobs/7/proxy.ws?service=a",
    ],
    "static": ["GET /assets/application-0123.js"],
}


def furnished(text: str, place: Path) -> str:
    """The configuration with all that it names beneath `place`."""
    text = completed(text, place)
    return re.sub(r'^    "(/.*)",$', rf'    "{place}\1",', text, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> RouteTable:
    place = tmp_path_factory.mktemp("table")
    (place / "fastproxy.toml").write_text(furnished(TEXT, place))
    config, problems = load_judged(place / "fastproxy.toml", {})
    assert not [each for each in problems if each.severity is Severity.ERROR]
    return RouteTable(config.route)


@pytest.mark.parametrize(("action", "line"), [(a, line) for a in REQUESTS for line in REQUESTS[a]])
def test_every_request_of_workhorses_table_has_its_handler(
    table: RouteTable, action: str, line: str
) -> None:
    method, _, target = line.partition(" ")
    found = table.resolve(method.encode(), target.encode(), b"gitlab.example")
    assert found.route is not None
    assert type(found.route.config).__struct_config__.tag == action, found.route.name


def test_what_only_workhorse_can_do_goes_on_to_it(table: RouteTable) -> None:
    beside = {
        row.config.name for row in table.rows if getattr(row.config, "backend", "") != "default"
    }
    beside -= {"assets"}
    assert beside == {
        "git_receive_pack", "ssh_upload_pack", "ssh_receive_pack", "duo_workflow_ws",
        "project_environments_terminal_ws", "dependency_proxy",
    }  # fmt: skip


def test_the_table_passes_check(tmp_path: Path) -> None:
    (tmp_path / "fastproxy.toml").write_text(furnished(TEXT, tmp_path))
    judged = shell("fastproxy check fastproxy.toml", tmp_path)
    assert judged.returncode == 0, judged.stdout + judged.stderr


@contextmanager
def served(text: str, place: Path) -> Iterator[tuple[Proxy, Rails]]:
    """A configuration as it stands, between its clients and a Rails."""
    text = furnished(text, place)
    for secret in place.rglob(".gitlab_workhorse_secret"):
        secret.write_bytes(base64.b64encode(SECRET) + b"\n")
    with rails(SECRET, place) as backend:
        for address in (
            "http://127.0.0.1:3000",
            "unix:/var/opt/gitlab/gitlab-rails/sockets/gitlab.socket",
        ):
            text = text.replace(address, backend.address)
        with proxy(
            text.replace('listen = ["127.0.0.1:8181"]\n', "").replace(
                'admin_listen = "127.0.0.1:9229"\n', ""
            )
        ) as front:
            yield front, backend


def test_a_rails_believes_what_comes_by_the_table(tmp_path: Path) -> None:
    shared = tmp_path / "var/opt/gitlab/gitlab-rails/shared"
    assets = tmp_path / "opt/gitlab/embedded/service/gitlab-rails/public/assets"
    with served(TEXT, tmp_path) as (front, backend), front.client() as client:
        backend.authorize = lambda asked: permit(TempPath=str(shared / "tmp/uploads"))
        (assets / "app.js").write_text("alert(1)")
        put = f"PUT {PROJECT}/packages/generic/p/1/f HTTP/1.1\r\nHost: h\r\n"
        client.send(put.encode() + b"Content-Length: 3\r\n\r\nabc")
        assert client.reply().status == 201
        assert backend.received[-1].content == b"abc"
        post = "POST /api/v4/jobs/7/artifacts HTTP/1.1\r\nHost: h\r\nJOB-TOKEN: t\r\n"
        post += (
            f"Content-Type: multipart/form-data; boundary=B\r\nContent-Length: {len(FORM)}\r\n\r\n"
        )
        client.send(post.encode() + FORM)
        assert client.reply().status == 201
        assert (backend.received[-1].field, backend.received[-1].content) == ("file", b"zip")
        assert backend.seen[-1].field("JOB-TOKEN") == "t"
        assert client.get("/assets/app.js").body == b"alert(1)"
        assert client.get("/group/project").body == b"plain\n"
    assert not [path for path in shared.rglob("gitlab-workhorse-upload*") if path.is_file()]


def test_the_examples_of_the_document_work(tmp_path: Path) -> None:
    package, graphql = [b.text for b in blocks("toml") if b.document == "docs/gitlab.md"]
    forms: list[dict[str, str]] = []

    def accept(asked: Asked) -> Said:
        forms.append(form_of(asked))
        return Said(201, b"created")

    for text, request, temp in (
        (package, b"PUT /api/v4/projects/7/packages/generic/a", "shared"),
        (graphql, b"POST /api/graphql", "uploads"),
    ):
        place = tmp_path / temp
        place.mkdir()
        with served(text, place) as (front, backend), front.client() as client:
            backend.authorize = lambda asked, to=place / temp: permit(TempPath=os.fspath(to))
            backend.finalize = accept
            client.send(
                request
                + b" HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=B\r\n"
            )
            client.send(b"Content-Length: %d\r\n\r\n" % len(FORM) + FORM)
            assert client.reply().status == 201
    assert forms[0]["file.name"] == "upload"
    assert forms[1]["file.name"].strip() == "a.zip"
