"""Names of repositories lead to directories beneath the root, and nowhere else."""

import os
from pathlib import Path

import pytest

from fastproxy.errors import NoRepository
from fastproxy.git.repository import opened
from tests.support.descriptors import descriptors


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part in ("objects", "refs"):
        (tmp_path / "root/group/a.git" / part).mkdir(parents=True)
    (tmp_path / "root/group/a.git/HEAD").symlink_to("refs/heads/main")
    (tmp_path / "root/file").touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "root/out").symlink_to(tmp_path / "outside")
    (tmp_path / "root/group/link").symlink_to("a.git")
    return tmp_path / "root"


def test_a_repository_is_open_while_it_is_used(root: Path) -> None:
    with opened(str(root), "group/a.git") as repository:
        assert os.path.samestat(os.fstat(repository.descriptor), (root / "group/a.git").stat())
        assert repository.path == str(root / "group/a.git")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(repository.descriptor)


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    with opened(str(tmp_path / "alias"), "group/a.git") as repository:
        assert repository.path == str(root / "group/a.git")


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", ".", "..", "../outside", "group/../../outside", "group//a.git", "group/a.git/"),
        *("/group/a.git", "out", "group/link", "file", "absent", "group/a.git\0", "x" * 300),
        *("group", "group/a.git/objects"),
    ],
)
def test_no_other_name_leads_anywhere(root: Path, name: str) -> None:
    before = descriptors()
    with pytest.raises(NoRepository), opened(str(root), name):
        pass
    assert descriptors() <= before
