"""An uploaded file is where the application's files are, or nowhere."""

from pathlib import Path

import pytest

from fastproxy.backend import Guard, MemoryReplays, Reason, Refused, UploadedFile
from fastproxy.protocol import UPLOAD
from tests.backend.honest import SECRET, report_of


def file_at(path: str, upload_to: str = "/uploads/a") -> UploadedFile:
    body, token = report_of(upload_to, path=path)
    guard = Guard(SECRET, MemoryReplays())
    return guard.file(guard.verify(UPLOAD, "PUT", upload_to, token), body)


def test_a_file_of_the_store_is_found(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "1").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("store")
    file = file_at(str(tmp_path / "store" / "1"))
    assert file.within(tmp_path / "link") == (tmp_path / "store" / "1").resolve()


@pytest.mark.parametrize(
    "path",
    ["/etc/hostname", "store/../secret", "store/link", "store", "store/none", "storehouse/1"],
)
def test_a_file_elsewhere_is_refused_though_it_is_signed(path: str, tmp_path: Path) -> None:
    for folder in ("store", "storehouse"):
        (tmp_path / folder).mkdir()
    for name in ("secret", "storehouse/1"):
        (tmp_path / name).write_bytes(b"abc")
    (tmp_path / "store" / "link").symlink_to("../secret")
    with pytest.raises(Refused) as refused:
        file_at(str(tmp_path / path)).within(tmp_path / "store")
    assert refused.value.reason is Reason.PLACE


def test_an_object_is_no_file() -> None:
    file = file_at("")
    assert file.path is None
    with pytest.raises(Refused):
        file.within("/")


@pytest.mark.parametrize(
    ("path", "name"), [("/uploads/a b", "a b"), ("/uploads/ä/", "ä"), ("/", "")]
)
def test_the_name_is_the_last_segment(path: str, name: str) -> None:
    assert file_at("/s/1", path).name == name
