"""A form in this process: read into a window that others share, and gone when it is over."""

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from fastproxy.config.schema import FormRoute
from fastproxy.errors import ClientGone
from fastproxy.exchange import Exchange
from fastproxy.handlers.form_file import FileUpload
from fastproxy.handlers.form_intake import FormIntake
from fastproxy.handlers.form_kit import FormKit
from fastproxy.handlers.form_upload import FormUpload
from fastproxy.handlers.form_window import FormWindow
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.uploads.form import FormFields, Purse
from tests.handlers.test_upload_body import SECRET, Taken, stored_in
from tests.support.monolith import Monolith, monolith
from tests.support.waiting import until

FILES = [b"\r\n--" * 50_000, b"\r\n--B" * 3, b""]


def form(files: list[bytes]) -> bytes:
    head = b'--%b\r\nContent-Disposition: form-data; name="f"; filename="%d"\r\n\r\n%b\r\n'
    parts = [head % (b"B-1", number, data) for number, data in enumerate(files)]
    text = b'--B-1\r\nContent-Disposition: form-data; name="t"\r\n\r\ntext\r\n'
    return b"".join([text, *parts, text]) + b"--B-1--\r\n"


class Form(Taken):
    """A form in place of an upload."""

    def __init__(self, home: Path, backend: Monolith) -> None:
        super().__init__(home, backend)
        self.purse = Purse(1 << 20)
        kit = FormKit(FormRoute(path="/"), self.upload._kit, self.purse)
        self.exchange.head.headers = [(b"Content-Type", b"multipart/form-data; boundary=B-1")]
        self.exchange.sink = None
        parser = kit.parser_for(self.exchange)
        assert parser is not None
        self.form = FormUpload(self.exchange, kit, parser)
        del self.upload

    async def begin(self) -> None:
        """Be permitted."""
        self.form.start()
        await until(lambda: self.client.reads_body)

    async def read(self, data: bytes, most: int) -> None:
        """As a connection reads: into the form's own memory, at most so many bytes at once."""
        while data:
            direct = self.exchange.direct
            assert direct is not None
            if not direct.room():
                await asyncio.sleep(0)
                continue
            window = direct.get_buffer()
            size = min(most, len(window), len(data))
            window[:size] = data[:size]
            assert direct.get_buffer()[:size] == data[:size], "asked again it is the same"
            data = data[size:]
            direct.buffer_updated(size)

    async def stored(self) -> None:
        self.form.body_end()
        await until(lambda: self.client.status == 201)
        await until(self.is_gone)


def run(home: Path, main: Callable[[Form, Monolith], Awaitable[None]]) -> None:
    async def bounded(backend: Monolith) -> None:
        taken = Form(home, backend)
        try:
            async with asyncio.timeout(30):
                await main(taken, backend)
        finally:
            await taken.close()

    with (
        monolith(SECRET) as backend,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(bounded(backend))


def alive() -> Counter[type]:
    """What there is of forms in this process."""
    kinds = (FormUpload, FormIntake, FormFields, FileUpload, UploadBuffer, Exchange)
    return Counter(type(one) for one in gc.get_objects() if issubclass(type(one), kinds))


@pytest.mark.parametrize("most", [1, 7, 4096, 1 << 20])
def test_files_are_found_in_whatever_reads_bring(tmp_path: Path, most: int) -> None:
    files = FILES if most > 7 else [data[:3000] for data in FILES]

    async def main(taken: Form, backend: Monolith) -> None:
        await taken.begin()
        await taken.read(form(files), most)
        await taken.stored()
        assert taken.finished("stored") == len(files)
        assert taken.purse.held == 0

    run(tmp_path, main)
    assert sorted(stored_in(tmp_path)) == sorted(files)


def test_small_files_are_stored_in_turn_and_give_their_turn_back(tmp_path: Path) -> None:
    async def main(taken: Form, backend: Monolith) -> None:
        await taken.begin()
        await taken.read(form([b"1", b"2", b"3"]), 4096)
        await taken.stored()
        assert taken.turn_is_free()

    run(tmp_path, main)


def test_a_client_that_leaves_at_once_is_not_asked_for(tmp_path: Path) -> None:
    async def main(taken: Form, backend: Monolith) -> None:
        taken.form.start()
        taken.form.client_failed(ClientGone())
        await until(taken.is_gone)
        assert backend.seen == []
        assert [type(one.fault) for one in taken.client.reports] == [ClientGone]

    run(tmp_path, main)


@pytest.mark.parametrize("leaves", [False, True])
def test_what_is_over_leaves_nothing_to_the_collector_of_cycles(
    tmp_path: Path, leaves: bool
) -> None:
    async def main(taken: Form, backend: Monolith) -> None:
        await taken.begin()
        body = form([b"1" * 100_000, b"2"])
        await taken.read(body[:60_000] if leaves else body, 4096)
        if leaves:
            taken.form.client_failed(ClientGone())
            await until(taken.is_gone)
        else:
            await taken.stored()
        taken.client.reports.clear()
        del taken.form, taken.exchange
        await asyncio.sleep(0)
        assert alive() == before

    gc.collect()
    gc.disable()
    before = alive()
    try:
        run(tmp_path, main)
    finally:
        gc.enable()


def test_a_window_shows_what_came_before_and_what_comes_in_one_piece() -> None:
    window = FormWindow(10)
    window.opened(5)[:3] = b"def"
    start, end = window.filled(b"abc", 3)
    assert window.memory[start:end] == window.view(start, end) == b"abcdef"
