"""A form in this process: read into a window that others share, and gone when it is over."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import uvloop

from fastproxy.config.schema import FormRoute
from fastproxy.errors import ClientGone, MemoryShort
from fastproxy.exchange import Exchange
from fastproxy.handlers.forms.file import FileUpload
from fastproxy.handlers.forms.intake import FormIntake
from fastproxy.handlers.forms.kit import FormKit
from fastproxy.handlers.forms.upload import FormUpload
from fastproxy.handlers.forms.window import FormWindow
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.storage.contract import StoreNeeds
from fastproxy.uploads.form import FieldBudget, FormFields
from tests.handlers.uploads.test_body import SECRET, Taken, stored_in
from tests.support.collector import alive, no_collections
from tests.support.monolith import Monolith, monolith, permit
from tests.support.waiting import until

FILES = [b"\r\n--" * 50_000, b"\r\n--B" * 3, b""]


def form(files: list[bytes]) -> bytes:
    head = b'--%b\r\nContent-Disposition: form-data; name="f"; filename="%d"\r\n\r\n%b\r\n'
    parts = [head % (b"B-1", number, data) for number, data in enumerate(files)]
    text = b'--B-1\r\nContent-Disposition: form-data; name="t"\r\n\r\ntext\r\n'
    return b"".join([text, *parts, text]) + b"--B-1--\r\n"


class Form(Taken):
    """A form in place of an upload."""

    def __init__(self, home: Path, backend: Monolith, **route: Any) -> None:
        super().__init__(home, backend)
        self.field_budget = FieldBudget(1 << 20)
        form_route = FormRoute(path="/", **route)
        uploads = replace(self.upload._kit, route=form_route)
        kit = FormKit(form_route, uploads, self.field_budget)
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


def run(home: Path, main: Callable[[Form, Monolith], Awaitable[None]], **route: Any) -> None:
    async def bounded(backend: Monolith) -> None:
        taken = Form(home, backend, **route)
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


KINDS = (FormUpload, FormIntake, FormFields, FileUpload, UploadBuffer, Exchange)


@pytest.mark.parametrize("most", [1, 7, 4096, 1 << 20])
def test_files_are_found_in_whatever_reads_bring(tmp_path: Path, most: int) -> None:
    files = FILES if most > 7 else [data[:3000] for data in FILES]

    async def main(taken: Form, backend: Monolith) -> None:
        await taken.begin()
        await taken.read(form(files), most)
        await taken.stored()
        assert taken.finished("stored") == len(files)
        assert taken.field_budget.held == 0

    run(tmp_path, main)
    assert sorted(stored_in(tmp_path)) == sorted(files)


def test_small_files_are_stored_in_turn_and_give_their_turn_back(tmp_path: Path) -> None:
    async def main(taken: Form, backend: Monolith) -> None:
        await taken.begin()
        await taken.read(form([b"1", b"2", b"3"]), 4096)
        await taken.stored()
        assert taken.turn_is_free()

    run(tmp_path, main)


def test_a_file_whose_turn_comes_as_its_form_fails_gives_it_back(tmp_path: Path) -> None:
    """The task that would store it has been made, and did not begin yet."""

    async def main(taken: Form, backend: Monolith) -> None:
        taken.storing.acquire(lambda: True)
        await taken.begin()
        await taken.read(form([b"1"]), 4096)
        taken.form.client_failed(ClientGone())
        taken.storing.release()
        await until(taken.is_gone)
        assert taken.turn_is_free()

    run(tmp_path, main)
    assert stored_in(tmp_path) == []


class Begun:
    """A store whose multipart uploads the backend has begun."""

    needs = StoreNeeds()

    def __init__(self) -> None:
        self.aborted = 0

    async def begin(self, key: str) -> "Begun":
        return self

    async def abort(self) -> None:
        self.aborted += 1


def test_what_the_backend_has_begun_for_a_file_without_room_is_aborted(tmp_path: Path) -> None:
    async def main(taken: Form, backend: Monolith) -> None:
        begun, uploads = Begun(), taken.form._kit.uploads
        uploads.store_for = lambda permission: begun
        uploads.arena = Mock(open=Mock(side_effect=MemoryShort("full")))
        url = "http://store/"
        signed = {"part_size": 5, "part_urls": [url], "complete_url": url, "abort_url": url}
        backend.authorize = lambda asked: permit(presigned=signed)
        taken.form.start()
        await until(lambda: taken.client.reads_body)
        await taken.read(form([b"1"]), 4096)
        await until(lambda: taken.client.status == 503)
        await until(taken.is_gone)
        assert begun.aborted == 1

    run(tmp_path, main, authorize_each=True, allowed_hosts=("store",))


def test_a_client_that_leaves_at_once_is_not_asked_for(tmp_path: Path) -> None:
    async def main(taken: Form, backend: Monolith) -> None:
        taken.form.start()
        taken.form.client_failed(ClientGone())
        await until(taken.is_gone)
        assert backend.seen == []
        assert [type(one.fault) for one in taken.client.reports] == [ClientGone]

    run(tmp_path, main)


def test_a_form_that_is_slow_gives_way_to_one_that_needs_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastproxy.uploads.form._SPARED_S", -1.0)

    async def main(taken: Form, backend: Monolith) -> None:
        await taken.begin()
        text = b'--B-1\r\nContent-Disposition: form-data; name="t"\r\n\r\n' + b"x" * 1_000_000
        await taken.read(text, 1 << 20)
        other = FormFields(9, 1 << 20, taken.field_budget)
        other.add(b"x" * 900_000)
        assert taken.field_budget.held == 900_000
        await until(lambda: taken.client.status == 503)
        await until(taken.is_gone)

    run(tmp_path, main)


def test_a_bad_form_gives_the_memory_of_its_fields_back_before_it_is_answered(
    tmp_path: Path,
) -> None:
    async def main(taken: Form, backend: Monolith) -> None:
        await taken.begin()
        await taken.read(form([b"1"])[:-9], 4096)
        assert taken.field_budget.held
        await taken.read(b"--B-1\r\nnothing\r\n\r\n", 4096)
        assert taken.field_budget.held == 0
        await until(lambda: taken.client.status == 400)
        await until(taken.is_gone)

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
        assert alive(KINDS) <= before

    with no_collections():
        before = alive(KINDS)
        run(tmp_path, main)


def test_a_window_shows_what_came_before_and_what_comes_in_one_piece() -> None:
    window = FormWindow(10)
    window.opened(5)[:3] = b"def"
    start, end = window.filled(b"abc", 3)
    assert window.memory[start:end] == window.view(start, end) == b"abcdef"
