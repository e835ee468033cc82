"""A backend that speaks as GitLab's Rails does: the same powers in its words."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.flow.git_site import Forge, forged
from tests.flow.upload_site import SECRET
from tests.support.git import commit, git, head_of
from tests.support.monolith import Asked, Said

KIND = "application/vnd.gitlab-workhorse+json"
REPOSITORY = {"storage_name": "default", "relative_path": "hello.git"}
HOOK = '#!/bin/sh\necho "$GL_ID $GL_USERNAME $GL_REPOSITORY $GL_PROTOCOL" > {told}\n'


def rails(asked: Asked) -> Said:
    """Permits everything that workhorse asks, and sends a blob for what it passes on."""
    token = asked.field("Gitlab-Workhorse-Api-Request")
    if token is None:
        wanted = {"repository": REPOSITORY, "oid": asked.path.rpartition("/")[2], "limit": -1}
        order = base64.urlsafe_b64encode(json.dumps({"GetBlobRequest": wanted}).encode()).decode()
        return Said(200, b"", [("Gitlab-Workhorse-Send-Data", f"git-blob:{order}")])
    jwt.decode(token, SECRET, algorithms=["HS256"], issuer="gitlab-workhorse")
    permission: dict[str, Any] = {
        "GL_ID": "user-7",
        "GL_USERNAME": "ann",
        "GL_REPOSITORY": "project-1",
        "Repository": REPOSITORY,
        "GitalyServer": {"address": "unix:/nowhere", "token": ""},
        "GitConfigOptions": ["receive.maxInputSize=1000000"],
        "ShowAllRefs": False,
    }
    return Said(200, json.dumps(permission).encode(), [("Content-Type", KIND)])


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    home = tmp_path_factory.mktemp("gitlab")
    (home / "hooks").mkdir()
    (home / "hooks/pre-receive").write_text(HOOK.format(told=home / "told"))
    (home / "hooks/pre-receive").chmod(0o755)
    with forged(
        home,
        git={"hooks": str(home / "hooks")},
        route_keys={"authorize_suffix": ""},
        to_backend={"dialect": "gitlab"},
    ) as running:
        running.backend.otherwise = rails
        yield running


def test_the_real_client_fetches_and_pushes_and_hooks_learn_who_it_is(
    forge: Forge, tmp_path: Path
) -> None:
    git("clone", "--quiet", forge.url(), tmp_path / "copy")
    pushed = commit(tmp_path / "copy", "new", b"new\n")
    git("push", "--quiet", "origin", "HEAD:refs/heads/topic", cwd=tmp_path / "copy")
    assert head_of(forge.bare, "refs/heads/topic") == pushed
    assert (forge.home / "told").read_text() == "user-7 ann project-1 http\n"
    asked = forge.backend.about("/git/hello.git/git-receive-pack")
    assert asked
    assert all(each.body == b"" and each.method == "POST" for each in asked)


def test_a_blob_is_sent_as_it_is_ordered(forge: Forge) -> None:
    oid = git("rev-parse", "main:file0", cwd=forge.bare).strip()
    with forge.site.client() as client:
        client.head("GET", f"/git/hello.git/raw/{oid}", {})
        answer = client.response()
    assert (answer.status, answer.body) == (200, (forge.tree / "file0").read_bytes())
    assert not [name for name in answer.headers if name.lower().startswith("gitlab")]
