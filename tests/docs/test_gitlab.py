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
from fastproxy.config.schema import FormRoute, StaticRoute
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

# Workhorse's routing table: the kind of handler, our name for it, and what comes. P is a project.
REQUESTS = """
git     git_info_refs                 GET /group/project.git/info/refs?service=git-upload-pack
git     git_upload_pack               POST /group/project.git/git-upload-pack
proxy   git_receive_pack              POST /group/project.git/git-receive-pack
proxy   ssh_upload_pack               POST /group/project.git/ssh-upload-pack
upload  git_lfs_objects               PUT /group/project.git/gitlab-lfs/objects/OID/12
form    api_jobs_artifacts            POST /api/v4/jobs/7/artifacts?artifact_format=zip
proxy   api                           GET /api/v4/jobs/7/artifacts
form    api_jobs_sbom_scans           POST /api/v4/jobs/7/sbom_scans
proxy   api_jobs_request              POST /api/v4/jobs/request
proxy   api                           PUT /api/v4/jobs/7
proxy   api                           PATCH /api/v4/jobs/7/trace
proxy   action_cable                  GET /-/cable
channel project_environments_terminal_ws GET /group/project/-/environments/7/terminal.ws
channel project_jobs_terminal_ws      GET /group/sub/project/-/jobs/7/terminal.ws
channel project_jobs_proxy_ws         GET /group/project/-/jobs/7/proxy.ws?service=a
proxy   duo_workflow_ws               GET /api/v4/ai/duo_workflows/ws
proxy   dependency_proxy              GET /v2/group/dependency_proxy/containers/alpine/manifests/1
proxy   projects_api_terraform_state_lock POST P/terraform/state/production/lock
upload  projects_api_terraform_state  POST P/terraform/state/production
proxy   api                           DELETE P/terraform/state/production/lock
upload  projects_api_packages_maven   PUT P/packages/maven/a/b/1/b.jar
upload  projects_api_packages_maven   PUT /api/v4/projects/7/packages/maven/b.jar
proxy   projects_api_packages_npm_dist_tags PUT P/packages/npm/-/package/@scope%2Fname/dist-tags/a
upload  projects_api_packages_npm     PUT P/packages/npm/@scope%2fname
proxy   api                           POST P/packages/npm/-/npm/v1/security/audits/quick
upload  api_packages_conan            PUT /api/v4/packages/conan/v1/files/a/1/b/c/0/export/a.py
upload  projects_api_packages_conan   PUT P/packages/conan/v2/conans/a/1/b/c/revisions/0/files/d
upload  projects_api_packages_generic PUT P/packages/generic/p/1.0/f.bin
proxy   api                           GET P/packages/generic/p/1.0/f.bin
upload  projects_api_packages_ml_models PUT P/packages/ml_models/1/files/m
upload  projects_api_packages_debian  PUT P/packages/debian/a_1.deb
upload  projects_api_packages_terraform PUT P/packages/terraform/modules/m/aws/1.0/file
upload  projects_api_packages_rpm     POST P/packages/rpm
upload  projects_api_packages_rubygems POST P/packages/rubygems/api/v1/gems
form    projects_api_packages_nuget   PUT P/packages/nuget/
form    projects_api_packages_nuget   PUT P/packages/nuget/v2
form    projects_api_packages_pypi    POST P/packages/pypi
form    projects_api_packages_helm    POST P/packages/helm/api/stable/charts
proxy   api                           PUT P/packages/protection/rules/7
upload  api_projects_repository_commits POST P/repository/commits
proxy   api                           POST P/repository/commits/abc/comments
upload  api_projects_repository_files PUT P/repository/files/a%2Fb.txt
upload  api_projects_repository_files POST P/repository/files/packages%2Fgeneric%2Fp%2Ff
form    api_projects_uploads          POST P/uploads
form    api_projects_issues_metric_images POST P/issues/7/metric_images
form    api_projects_alerts_metric_images POST P/alert_management_alerts/7/metric_images
form    api_groups_import             POST /api/v4/groups/import
form    api_projects_import           POST /api/v4/projects/import
form    api_projects_import_relation  POST /api/v4/projects/import-relation
form    api_groups_placeholder_reassignments POST /api/v4/groups/a%2Fb/placeholder_reassignments
form    api_projects_wikis_attachments POST P/wikis/attachments
form    api_groups_wikis_attachments  POST /api/v4/groups/a%2Fb/wikis/attachments
form    api_graphql                   POST /api/graphql
proxy   api_projects_remote_mirrors   POST P/remote_mirrors
form    api_topics                    PUT /api/v4/topics/7
form    api_projects_create           POST /api/v4/projects
form    api_projects_change           PUT P
form    api_projects_change           PUT /api/v4/projects/7
proxy   api                           PUT P/issues/7
proxy   api                           PUT /api/v4/projects/7/merge_requests/3/merge
proxy   api                           PUT P/hooks/1
proxy   api                           DELETE /api/v4/projects/7
form    api_groups_create             POST /api/v4/groups
form    api_groups_change             PUT /api/v4/groups/a%2Fb
proxy   api                           PUT /api/v4/groups/a%2Fb/members/1
form    api_organizations_change      PUT /api/v4/organizations/1
form    api_user_avatar               PUT /api/v4/user/avatar
form    api_users_create              POST /api/v4/users
form    api_users_change              PUT /api/v4/users/7
proxy   api                           PUT /api/v4/user/status
proxy   api_observability             POST P/observability/v1/traces
proxy   api                           POST /api/v4/internal/allowed
static  assets                        GET /assets/application-0123.js
static  emojis                        GET /-/emojis/2/100.png
static  robots                        GET /robots.txt
form    project_uploads               POST /group/sub/project/uploads
form    personal_snippet_uploads      POST /uploads/personal_snippet
form    user_uploads                  POST /uploads/user
form    import_gitlab_project         POST /import/gitlab_project
form    project_work_items_import_csv POST /group/project/-/work_items/import_csv
form    group_placeholder_assignment  POST /groups/a/b/-/group_members/bulk_reassignment_file
proxy   health                        GET /-/health
proxy   readiness                     GET /-/readiness
form    forms                         POST /-/profile
form    forms                         POST /group/project/-/create/main
proxy   default                       GET /group/project/-/blob/main/README.md
proxy   default                       GET /uploads/-/system/user/avatar/1/a.png
"""
ROWS = [line.split(maxsplit=2) for line in REQUESTS.split("\n") if line]


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
    return RouteTable(config.route, config.server.keep_encoded_slash)


@pytest.mark.parametrize(("action", "name", "line"), ROWS, ids=[row[2] for row in ROWS])
def test_every_request_of_workhorses_table_has_its_handler(
    table: RouteTable, action: str, name: str, line: str
) -> None:
    method, _, target = line.replace("OID", "ab" * 32).replace(" P", f" {PROJECT}").partition(" ")
    found = table.resolve(method.encode(), target.encode(), b"gitlab.example")
    assert found.route is not None
    assert (type(found.route.config).__struct_config__.tag, found.route.name) == (action, name)


def test_what_only_workhorse_can_do_goes_on_to_it(table: RouteTable) -> None:
    beside = {
        row.config.name for row in table.rows if getattr(row.config, "backend", "") != "default"
    }
    beside -= {row.config.name for row in table.rows if isinstance(row.config, StaticRoute)}
    assert beside == {
        "git_receive_pack", "ssh_upload_pack", "ssh_receive_pack", "duo_workflow_ws",
        "dependency_proxy", "api_observability",
    }  # fmt: skip


def test_the_photos_of_people_are_scrubbed_and_artifacts_are_not(table: RouteTable) -> None:
    forms = {row.name: row.config for row in table.rows if isinstance(row.config, FormRoute)}
    scrubbed = {name for name, form in forms.items() if form.scrub_images}
    assert {"project_uploads", "api_user_avatar", "api_graphql", "forms"} <= scrubbed
    kept = {name for name in forms if re.search("artifacts|packages|import|sbom|assign", name)}
    assert scrubbed == forms.keys() - kept


def test_the_table_passes_check(tmp_path: Path) -> None:
    (tmp_path / "fastproxy.toml").write_text(furnished(TEXT, tmp_path))
    judged = shell("fastproxy check fastproxy.toml", tmp_path)
    assert judged.returncode == 0, judged.stdout + judged.stderr


@contextmanager
def served(text: str, place: Path, allowed: str = "") -> Iterator[tuple[Proxy, Rails]]:
    """A configuration as it stands, between its clients and a Rails that believes files there."""
    text = furnished(text, place)
    for secret in place.rglob(".gitlab_workhorse_secret"):
        secret.write_bytes(base64.b64encode(SECRET) + b"\n")
    with rails(SECRET, place / allowed) as backend:
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
