"""What a backend may say of a repository, in either dialect."""

import json
from typing import Any

import pytest

from fastproxy.asking import strict
from fastproxy.errors import BadAuthorizeAnswer
from fastproxy.git.permission import GitlabPermission, GitPermission, judged


def gitlab(**said: Any) -> GitlabPermission:
    body = {"Repository": {"relative_path": "@hashed/a.git", "storage_name": "default"}, **said}
    return judged(strict(GitlabPermission)(json.dumps(body).encode()))


def native(**said: Any) -> GitPermission:
    body = {"repository": "a.git", "allow": ["fetch"], **said}
    return judged(strict(GitPermission)(json.dumps(body).encode()))


def test_gitlabs_answer_is_understood() -> None:
    said = gitlab(
        GL_ID="user-1",
        GL_USERNAME="ann",
        GL_REPOSITORY="project-1",
        GitConfigOptions=["receive.maxInputSize=1000", "transfer.fsckObjects=a=b"],
        ShowAllRefs=True,
        GitalyServer={"address": "unix:/x"},
    )
    assert said.repository == "@hashed/a.git"
    assert said.allow == ("fetch", "push")
    assert said.settings == (
        ("receive.maxInputSize", "1000"),
        ("transfer.fsckObjects", "a=b"),
        ("transfer.hideRefs", "!refs"),
    )
    assert said.variables == {
        "GL_PROTOCOL": "http",
        "GL_ID": "user-1",
        "GL_USERNAME": "ann",
        "GL_REPOSITORY": "project-1",
        "REMOTE_USER": "ann",
    }
    assert gitlab(GitConfigOptions=None).settings == ()


def test_a_native_answer_is_understood() -> None:
    said = native(user="ann", config={"pack.threads": "1"})
    assert (said.settings, said.variables) == ((("pack.threads", "1"),), {"REMOTE_USER": "ann"})
    assert native().variables == {}


@pytest.mark.parametrize(
    "key",
    [
        *("core.hooksPath", "core.sshCommand", "alias.x", "include.path", "safe.directory"),
        *("uploadpack.packObjectsHook", "uploadpack.PACKOBJECTSHOOK", "receive", "receive.", ""),
        *("receive.a b", "receive.a=b", "receive.a\nb", "transferx.a", "protocol.allow"),
    ],
)
def test_no_setting_can_name_a_program_or_lead_elsewhere(key: str) -> None:
    with pytest.raises(BadAuthorizeAnswer, match="config"):
        native(config={key: "1"})


@pytest.mark.parametrize(
    "said",
    [
        {"user": "a\nb"},
        {"user": "a" * 5000},
        {"config": {"pack.threads": "1\0"}},
        {"config": {f"pack.a{number}": "1" for number in range(65)}},
    ],
)
def test_nothing_said_can_be_more_than_one_short_line(said: dict[str, Any]) -> None:
    with pytest.raises(BadAuthorizeAnswer):
        native(**said)
