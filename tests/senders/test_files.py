"""What becomes of an order for a file when our own system fails."""

import asyncio
import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from fastproxy.errors import OwnFault
from fastproxy.handlers.static.beneath import RegularFile, open_beneath
from fastproxy.message import RequestHead
from fastproxy.senders import files
from fastproxy.senders.contract import Delivery
from fastproxy.senders.files import send_beneath
from tests.support.descriptors import descriptors


def test_a_system_without_descriptors_is_our_fault_and_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(root: str, names: list[bytes]) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(files, "open_beneath", fail)
    nobody = cast("Delivery", None)  # it fails before there is anything to tell
    with pytest.raises(OwnFault, match="Too many open files"):
        asyncio.run(send_beneath(nobody, str(tmp_path), [b"a"]))


def test_a_small_file_that_ends_early_is_no_short_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")

    def longer(root: str, names: list[bytes]) -> RegularFile:
        file = open_beneath(root, names)
        file.size += 1
        return file

    monkeypatch.setattr(files, "open_beneath", longer)
    request = RequestHead(b"GET", b"/", 1, [])
    asking = SimpleNamespace(
        request=request, is_head=False, detects=False, kept={b"content-type": b"a/b"}.get
    )
    before = descriptors()
    with pytest.raises(OwnFault, match="shorter"):
        asyncio.run(send_beneath(cast("Delivery", asking), str(tmp_path), [b"a"]))
    assert descriptors() <= before
