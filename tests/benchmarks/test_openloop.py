"""The open-loop generator is honest: who stalls pays for everybody who had to wait."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import pairwise

import pytest

from benchmarks.openloop import PATIENCE, Load, latencies, percentile, saturation, schedule

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
LOAD = Load(rate=1000, seconds=0.5, connections=4, request=b"GET / HTTP/1.1\r\n\r\n", tail=b"hello")

Serve = Callable[[socket.socket], None]


@contextmanager
def server(serve: Serve) -> Iterator[int]:
    """Its port; `serve` has each connection in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=quietly, args=(connection,), daemon=True).start()

        def quietly(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def answering(*pieces: bytes, before: Callable[[], object] = lambda: None) -> Serve:
    """Answers every request with these pieces, each written by itself."""

    def serve(connection: socket.socket) -> None:
        while connection.recv(4096):
            before()
            for piece in pieces:
                connection.send(piece)

    return serve


@pytest.mark.parametrize(
    ("share", "found"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.501, 51), (0.99, 99), (1.0, 100)]
)
def test_a_percentile_is_the_least_figure_that_so_many_do_not_exceed(
    share: float, found: int
) -> None:
    assert percentile([*range(100, 50, -1), *range(1, 51)], share) == found


def test_the_percentile_of_one_figure_is_that_figure() -> None:
    assert percentile([7.0], 0.99) == 7.0


def test_requests_are_due_at_the_rate_and_at_the_same_times_for_everybody() -> None:
    load = replace(LOAD, rate=10_000, seconds=2)
    due = schedule(load)
    assert due == schedule(load)
    assert len(due) == 20_000
    assert due[-1] == pytest.approx(2, rel=0.05)


def test_requests_come_like_independent_visitors_not_like_a_clock() -> None:
    due = schedule(replace(LOAD, rate=10_000, seconds=2))
    gaps = [after - before for before, after in pairwise([0.0, *due])]
    longer_than_mean = sum(gap > 1e-4 for gap in gaps) / len(gaps)
    assert longer_than_mean == pytest.approx(0.368, abs=0.02)  # 1/e


def test_every_request_has_a_latency() -> None:
    with server(answering(ANSWER)) as port:
        found = latencies(port, LOAD)
    assert len(found) == 500
    assert min(found) > 0


def test_a_stall_is_paid_for_by_all_requests_that_were_due_meanwhile() -> None:
    stall, over = 0.3, threading.Event()

    def once() -> None:
        if not over.is_set():
            time.sleep(stall)
            over.set()

    with server(answering(ANSWER, before=once)) as port:
        found = latencies(port, LOAD)
    # A closed loop would have seen it four times, once on each connection.
    due_early = [due for due in schedule(LOAD) if due < stall / 2]
    assert len(due_early) > 100
    assert sum(latency > stall / 2 for latency in found) >= len(due_early) - 1
    assert max(found) > stall


def test_what_is_never_answered_counts_with_all_the_time_that_was_given() -> None:
    load = replace(LOAD, seconds=0.1)
    with server(answering()) as port:
        found = latencies(port, load)
    expected = [PATIENCE * load.seconds - due for due in schedule(load)]
    assert found == pytest.approx(expected, abs=1e-6)


def test_an_answer_in_pieces_is_one_answer() -> None:
    with server(answering(ANSWER[:7], ANSWER[7:30], ANSWER[30:])) as port:
        assert len(latencies(port, replace(LOAD, seconds=0.1))) == 100


@pytest.mark.parametrize(
    ("serve", "complaint"),
    [
        (answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nhello"), "503 Busy"),
        (answering(b"HTTP/1.1 2", b"04 No Content\r\n\r\nhello"), "204 No"),
        (lambda connection: connection.close(), "closed"),
    ],
)
def test_other_answers_and_none_are_errors(serve: Serve, complaint: str) -> None:
    with server(serve) as port, pytest.raises((RuntimeError, ConnectionError), match=complaint):
        latencies(port, replace(LOAD, seconds=0.1))


def test_an_answer_that_nobody_asked_for_is_an_error() -> None:
    def serve(connection: socket.socket) -> None:
        connection.send(ANSWER)
        connection.recv(1)

    slowly = replace(LOAD, rate=1, seconds=2)
    with server(serve) as port, pytest.raises(RuntimeError, match=r"200 OK.*nobody asked for"):
        latencies(port, slowly)


def test_an_interrupt_ends_it() -> None:
    with server(answering()) as port, ExitStack() as stack:
        timer = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
        stack.callback(timer.join)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            latencies(port, replace(LOAD, seconds=60))


def test_saturation_is_what_comes_back_when_every_connection_always_has_a_request() -> None:
    answered = []
    with server(answering(ANSWER, before=lambda: answered.append(1))) as port:
        rate = saturation(port, replace(LOAD, rate=1, seconds=0.2))
    # Each connection may have one more that came too late.
    assert len(answered) - LOAD.connections <= rate * 0.2 <= len(answered)
    assert len(answered) > 10 * LOAD.connections


def test_a_server_that_never_answers_has_no_saturation() -> None:
    with server(answering()) as port, pytest.raises(RuntimeError, match="nothing was answered"):
        saturation(port, replace(LOAD, seconds=0.1))
