"""The dialogue of a coroutine with its client, and the tasks of a worker."""

import asyncio
import logging
import weakref

import pytest

from fastproxy.errors import BadBody, Bug, ClientGone, NoRoute, ShuttingDown
from fastproxy.exchange import Stage
from fastproxy.handlers.coroutine import HIGH_WATER, Dialogue, ExchangeOver, OnLeave, Tasks
from fastproxy.message import ResponseHead
from tests.handlers.memory_client import MemoryClient, exchange_of
from tests.support.collector import no_collections


def head(length=None):
    made = ResponseHead(200, b"", [])
    made.content_length = length
    return made


class Scene:
    """One running dialogue. Use inside a loop."""

    def __init__(self, work, *, on_leave=OnLeave.CANCEL, **request):
        self.client = MemoryClient()
        self.exchange = exchange_of(self.client, **request)
        self.tasks = Tasks()
        self.dialogue = Dialogue(self.exchange, on_leave)
        self.dialogue.start(self.tasks, work)

    async def ended(self):
        pending = self.tasks._pending
        if pending:
            _, late = await asyncio.wait(pending, timeout=5)
            assert not late
        return self.client

    def leave(self, fault):
        """What a connection does when its client fails."""
        self.dialogue.client_failed(fault)
        self.exchange.fail(fault)

    async def until(self, condition):
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - what is waited for is not an event
                await asyncio.sleep(0)


def played(work, **options):
    async def play():
        return await Scene(work, **options).ended()

    return asyncio.run(play())


async def answer(dialogue, body=b"hello"):
    dialogue.respond(head(len(body)))
    dialogue.end(body)


# -- the body ------------------------------------------------------------------------------------


def test_the_client_is_paused_at_the_high_water_mark_and_read_again_once_it_was_taken():
    async def play():
        taken = []
        may_read = asyncio.Event()

        async def work(dialogue):
            await may_read.wait()
            while piece := await dialogue.body.read():
                taken.append(piece)
            await answer(dialogue)

        scene = Scene(work, method=b"PUT", length=HIGH_WATER + 1)
        assert scene.client.reads_body  # ahead of the handler
        scene.dialogue.body_data([memoryview(bytes(HIGH_WATER - 1))])
        assert scene.client.reads_body
        scene.dialogue.body_data([memoryview(b"x")])
        assert not scene.client.reads_body
        may_read.set()
        await scene.until(lambda: scene.client.reads_body)
        scene.client.is_body_complete = True
        scene.dialogue.body_data([memoryview(b"y")])
        scene.dialogue.body_end()
        client = await scene.ended()
        assert b"".join(taken) == bytes(HIGH_WATER - 1) + b"xy"
        assert (client.status, client.kept) == (200, True)

    asyncio.run(play())


def test_the_client_goes_on_sending_while_the_handler_is_busy_with_what_it_took():
    async def play():
        async def work(dialogue):
            await dialogue.body.read()
            await asyncio.Event().wait()

        scene = Scene(work, method=b"PUT", length=HIGH_WATER + 1)
        scene.dialogue.body_data([memoryview(bytes(HIGH_WATER))])
        assert not scene.client.reads_body
        await scene.until(lambda: scene.client.reads_body)
        await scene.tasks.stop()

    asyncio.run(play())


def test_what_is_buffered_is_a_copy():
    async def play():
        taken = []

        async def work(dialogue):
            taken.append(await dialogue.body.read())
            await answer(dialogue)

        scene = Scene(work, method=b"PUT", length=4)
        scratch = bytearray(b"data")
        scene.dialogue.body_data([memoryview(scratch)])
        scratch[:] = b"####"
        scene.dialogue.body_end()
        await scene.ended()
        assert taken == [b"data"]

    asyncio.run(play())


def test_a_client_that_waits_for_permission_gets_it_with_the_first_read():
    async def play():
        may_read = asyncio.Event()

        async def work(dialogue):
            await may_read.wait()
            await dialogue.body.read()
            await answer(dialogue)

        scene = Scene(work, method=b"PUT", length=4, expects_continue=True)
        await asyncio.sleep(0)
        assert (scene.client.written, scene.client.reads_body) == (b"", False)
        may_read.set()
        await scene.until(lambda: scene.client.reads_body)
        assert scene.client.written == b"HTTP/1.1 100 Continue\r\n\r\n"
        scene.dialogue.body_data([memoryview(b"data")])
        scene.dialogue.body_end()
        await scene.ended()

    asyncio.run(play())


def test_without_a_body_the_end_is_read_at_once():
    async def work(dialogue):
        assert await dialogue.body.read() == b""
        assert dialogue.body.is_exhausted
        await answer(dialogue)

    assert played(work).body == b"hello"


# -- the response --------------------------------------------------------------------------------


def test_a_write_waits_until_the_client_takes_bytes_again():
    async def play():
        steps = []

        async def work(dialogue):
            dialogue.respond(head(4))
            steps.append("first")
            await dialogue.write(b"ab")
            steps.append("second")
            dialogue.end(b"cd")

        scene = Scene(work)
        scene.dialogue.client_blocked()
        await scene.until(lambda: scene.client.body == b"ab")
        for _ in range(5):
            await asyncio.sleep(0)
        assert steps == ["first"]
        scene.dialogue.client_writable()
        client = await scene.ended()
        assert (steps, client.body) == (["first", "second"], b"abcd")

    asyncio.run(play())


def test_an_empty_write_sends_the_head():
    async def play():
        may_go_on = asyncio.Event()

        async def work(dialogue):
            dialogue.respond(head())
            await dialogue.write(b"")
            await may_go_on.wait()
            dialogue.end()

        scene = Scene(work)
        await scene.until(lambda: scene.client.written.endswith(b"\r\n\r\n"))
        may_go_on.set()
        assert (await scene.ended()).body == b"0\r\n\r\n"

    asyncio.run(play())


def test_a_body_that_is_shorter_than_promised_cuts_the_connection(caplog):
    async def work(dialogue):
        dialogue.respond(head(5))
        dialogue.end(b"four")

    assert played(work).is_cut
    assert "Content-Length" in caplog.text


def test_of_a_body_that_is_longer_than_promised_nothing_is_sent(caplog):
    async def work(dialogue):
        dialogue.respond(head(5))
        dialogue.end(b"four5six")

    client = played(work)
    assert client.written.startswith(b"HTTP/1.1 500 ")
    assert b"four5" not in client.written
    assert "Content-Length" in caplog.text


@pytest.mark.parametrize("method", [b"HEAD", b"GET"])
def test_the_answer_to_head_has_no_body_to_measure(method):
    async def work(dialogue):
        dialogue.respond(head(5))
        dialogue.end(b"" if method == b"HEAD" else b"hello")

    client = played(work, method=method)
    assert b"Content-Length: 5" in client.written
    assert client.body == (b"" if method == b"HEAD" else b"hello")
    assert client.kept


# -- failures ------------------------------------------------------------------------------------


def test_an_unexpected_exception_is_logged_with_its_traceback_and_answered_with_500(caplog):
    async def work(dialogue):
        raise KeyError("a secret that the client must not see")

    client = played(work)
    assert client.status == 500
    assert b"secret" not in client.written
    assert isinstance(client.reports[0].fault, Bug)
    assert "Traceback" in caplog.text


def test_an_exception_after_the_head_cuts_the_connection():
    async def work(dialogue):
        dialogue.respond(head())
        await dialogue.write(b"some")
        raise KeyError

    client = played(work)
    assert client.is_cut
    assert not client.written.endswith(b"0\r\n\r\n")


def test_a_handler_that_exits_does_not_take_the_worker_with_it():
    async def work(dialogue):
        raise SystemExit(1)

    assert played(work).status == 500


def test_a_handler_that_ends_without_an_answer_gets_500(caplog):
    async def work(dialogue):
        pass

    assert played(work).status == 500
    assert "without a complete response" in caplog.text


def test_a_named_failure_keeps_its_status():
    async def work(dialogue):
        raise NoRoute

    assert played(work).status == 404


def test_a_cancellation_that_nobody_asked_for_is_a_bug():
    async def work(dialogue):
        raise asyncio.CancelledError

    client = played(work)
    assert isinstance(client.reports[0].fault, Bug)
    assert client.status == 500


def test_the_coroutine_is_cancelled_when_the_client_fails():
    async def play():
        ends = []

        async def work(dialogue):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

        scene = Scene(work)
        await asyncio.sleep(0)
        scene.leave(ClientGone())
        client = await scene.ended()
        assert ends == ["cancelled"]
        assert client.is_cut
        assert isinstance(scene.exchange.fault, ClientGone)

    asyncio.run(play())


def test_a_broken_body_is_answered_with_its_own_status_not_as_a_cancellation():
    async def play():
        scene = Scene(lambda dialogue: dialogue.body.read(), method=b"PUT", length=5)
        await asyncio.sleep(0)
        scene.leave(BadBody())
        assert (await scene.ended()).status == 400

    asyncio.run(play())


@pytest.mark.parametrize("step", ["read", "write", "over"])
def test_a_coroutine_that_is_not_cancelled_is_told_at_its_next_step(step, caplog):
    caplog.set_level(logging.INFO)

    async def play():
        news = []

        async def work(dialogue):
            if step == "read":
                with pytest.raises(ExchangeOver):
                    await dialogue.body.read()
            elif step == "write":
                dialogue.respond(head())
                with pytest.raises(ExchangeOver):
                    await dialogue.write(b"x")
            else:
                await dialogue.over()
            news.append(step)
            raise ExchangeOver

        scene = Scene(work, on_leave=OnLeave.TELL, method=b"PUT", length=5)
        scene.dialogue.client_blocked()
        await asyncio.sleep(0)
        scene.leave(ClientGone())
        await scene.ended()
        assert news == [step]

    asyncio.run(play())
    assert "exception" not in caplog.text


def test_what_fails_because_the_client_left_is_not_an_error_of_ours(caplog):
    async def play():
        async def work(dialogue):
            await dialogue.over()
            raise ValueError("no more data")

        scene = Scene(work, on_leave=OnLeave.TELL)
        await asyncio.sleep(0)
        scene.leave(ClientGone())
        await scene.ended()
        assert isinstance(scene.exchange.fault, ClientGone)

    asyncio.run(play())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_work_after_the_answer_goes_on_although_the_client_leaves():
    async def play():
        done = []

        async def work(dialogue):
            await answer(dialogue)
            await dialogue.over()  # at once: the response is complete
            await asyncio.sleep(0)
            done.append(dialogue.exchange.sink)

        client = await Scene(work).ended()
        assert (done, client.kept) == ([None], True)

    asyncio.run(play())


def test_a_handler_that_only_writes_lets_others_have_their_turn_and_hears_of_a_client_that_left():
    async def endless(dialogue):
        dialogue.respond(head())
        for _ in range(100):
            await dialogue.write(b"x")
        raise AssertionError("nobody told it")

    async def play():
        scene = Scene(endless)
        asyncio.get_running_loop().call_soon(scene.leave, ClientGone("reset"))
        await scene.ended()
        assert isinstance(scene.exchange.fault, ClientGone)

    asyncio.run(play())


# -- tasks ---------------------------------------------------------------------------------------


def test_stopping_cancels_what_still_runs_and_answers_it():
    async def play():
        scene = Scene(lambda dialogue: asyncio.Event().wait())
        await asyncio.sleep(0)
        await scene.tasks.stop()
        assert len(scene.tasks) == 0
        assert scene.exchange.stage is Stage.OVER
        assert isinstance(scene.exchange.fault, ShuttingDown)
        assert scene.client.status == 503

    asyncio.run(play())


def test_stopping_lets_what_ends_in_time_end():
    async def play():
        begun = asyncio.Event()

        async def work(dialogue):
            await begun.wait()
            await answer(dialogue)

        scene = Scene(work)
        stop = asyncio.create_task(scene.tasks.stop(grace_s=5))
        begun.set()
        await stop
        assert scene.client.status == 200

    asyncio.run(play())


def test_a_stop_without_tasks_is_quick():
    asyncio.run(Tasks().stop(grace_s=60))


def test_what_a_handler_held_is_gone_with_its_client_and_waits_for_no_collector():
    class Held:
        """Something that can be looked for."""

    async def play():
        seen = []

        async def work(dialogue):
            held = Held()
            seen.append(weakref.ref(held))
            await dialogue.body.read()

        scene = Scene(work, method=b"PUT", length=5)
        await scene.until(lambda: seen)
        scene.leave(ClientGone())
        await scene.ended()
        await asyncio.sleep(0)
        assert seen[0]() is None

    with no_collections():
        asyncio.run(play())
