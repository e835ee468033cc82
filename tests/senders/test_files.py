"""What becomes of an order for a file when our own system fails."""

import asyncio
import errno
import os
from pathlib import Path
from typing import cast

import pytest

from fastproxy.errors import OwnFault
from fastproxy.senders import files
from fastproxy.senders.contract import Delivery
from fastproxy.senders.files import send_beneath


def test_a_system_without_descriptors_is_our_fault_and_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(root: str, names: list[bytes]) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(files, "open_beneath", fail)
    nobody = cast("Delivery", None)  # it fails before there is anything to tell
    with pytest.raises(OwnFault, match="Too many open files"):
        asyncio.run(send_beneath(nobody, str(tmp_path), [b"a"]))
