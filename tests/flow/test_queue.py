"""Requests of a route in turn: how many at once, who is next, who is refused, who has left."""

import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.support.client import Client
from tests.support.harness import Proxy, proxy
from tests.support.origin import Origin, Peer, origin, response
from tests.support.waiting import eventually


class Slow:
    """A backend that answers when it is told to, and says whom it serves."""

    def __init__(self) -> None:
        self.serving: queue.Queue[bytes] = queue.Queue()
        self._go = threading.Semaphore(0)
        self.backend: Origin

    def script(self, peer: Peer) -> None:
        while (request := peer.request()) is not None:
            self.serving.put(request.target + request.body)
            assert self._go.acquire(timeout=30)
            peer.send(response(request.target))

    def next(self) -> bytes:
        """The next request that has come."""
        return self.serving.get(timeout=20)

    def answer(self, count: int = 1) -> None:
        """Answer so many."""
        self._go.release(count)


@contextmanager
def slow(settings: str, route: str = "") -> Iterator[tuple[Slow, Proxy]]:
    """A proxy with a queue named "slow" before a backend that is slow."""
    backend = Slow()
    with (
        origin(backend.script) as running,
        proxy(f"""
[backend.default]
address = "{running.address}"
[[route]]
action = "proxy"
name = "slow"
{route}
[route.queue]
{settings}
""") as front,
    ):
        backend.backend = running
        try:
            yield backend, front
        finally:
            backend.answer(100)


def ask(client: Client, target: str, fields: str = "", body: bytes = b"") -> None:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    method = "POST" if body else "GET"
    client.send(f"{method} {target} HTTP/1.1\r\nHost: h\r\n{length}{fields}\r\n".encode() + body)


def waiting(front: Proxy, count: int) -> None:
    series = 'fastproxy_queue_waiting{queue="slow"}'
    eventually(lambda: front.metric(series) == count, f"{count} wait")


def test_no_more_than_may_be_at_the_backend_and_the_others_follow() -> None:
    with slow("at_once = 2") as (backend, front), ExitStack() as stack:
        clients = [stack.enter_context(front.client()) for _ in range(5)]
        backend.answer()
        assert clients[0].get("/warm").body == b"/warm"  # a kept connection, for the express lane
        backend.next()
        for number, client in enumerate(clients):
            ask(client, f"/{number}", body=b"body" if number % 2 else b"")
            if number < 2:
                backend.next()
            else:
                waiting(front, number - 1)
        assert backend.serving.empty()
        assert front.metric('fastproxy_queue_running{queue="slow"}') == 2
        seen = []
        for _ in range(3):
            backend.answer()
            seen.append(backend.next())
            assert backend.serving.empty()
        assert seen == [b"/2", b"/3body", b"/4"]
        backend.answer(2)
        for number, client in enumerate(clients):
            assert client.reply().body == b"/%d" % number
        waiting(front, 0)
        assert front.metric('fastproxy_queue_wait_seconds_count{queue="slow"}') == 6


def test_keys_take_turns_however_many_one_of_them_has_waiting() -> None:
    with slow('at_once = 1\nkey = "header:X-User"') as (backend, front), ExitStack() as stack:
        for count, name in enumerate(["a0", "a1", "a2", "a3", "b1", "c1", "b2"]):
            client = stack.enter_context(front.client())
            ask(client, f"/{name}", f"X-User: {name[0]}\r\n")
            waiting(front, count)
        order = []
        for _ in range(7):
            order.append(backend.next())
            backend.answer()
        assert order == [b"/a0", b"/a1", b"/b1", b"/c1", b"/a2", b"/b2", b"/a3"]


def test_who_finds_no_place_is_told_so_and_when_to_come_again() -> None:
    settings = 'at_once = 1\nlength = 2\nlength_per_key = 1\nkey = "header:X-User"\n'
    settings += 'retry_after = "7s"'
    with slow(settings) as (backend, front), ExitStack() as stack:
        clients = [stack.enter_context(front.client()) for _ in range(5)]
        for count, (client, user) in enumerate(zip(clients[:2], "aa", strict=True)):
            ask(client, "/", f"X-User: {user}\r\n")
            waiting(front, count)
        ask(clients[2], "/", "X-User: a\r\n")
        refused = clients[2].reply()
        assert (refused.status, refused.header(b"retry-after")) == (429, b"7")
        assert refused.body == b"429 ours: too-many-waiting\n"
        ask(clients[3], "/", "X-User: b\r\n")
        waiting(front, 2)
        ask(clients[4], "/", "X-User: c\r\n")
        assert clients[4].reply().status == 429
        backend.answer(3)
        assert [clients[n].reply().status for n in (0, 1, 3)] == [200, 200, 200]
        assert front.metric('fastproxy_queue_lost_total{queue="slow",reason="full"}') == 2
        assert front.metric('fastproxy_rejected_total{reason="too-many-waiting"}') == 2


def test_the_statuses_are_those_of_the_configuration() -> None:
    settings = 'at_once = 1\nlength = 1\nwait = "1s"\nfull_status = 503\nlate_status = 429'
    with slow(settings) as (backend, front), ExitStack() as stack:
        first, second, third = (stack.enter_context(front.client()) for _ in range(3))
        ask(first, "/")
        backend.next()
        ask(second, "/", body=b"unread")
        waiting(front, 1)
        ask(third, "/")
        assert third.reply().status == 503
        late = second.reply()
        assert (late.status, late.header(b"retry-after")) == (429, b"5")
        assert late.body == b"429 ours: waited-too-long\n"
        assert front.metric('fastproxy_queue_lost_total{queue="slow",reason="late"}') == 1
        waiting(front, 0)
        backend.answer()
        assert first.reply().status == 200
        assert backend.serving.empty()


def test_a_client_that_leaves_gives_its_place_to_the_next() -> None:
    with slow("at_once = 1") as (backend, front), ExitStack() as stack:
        clients = [stack.enter_context(front.client()) for _ in range(4)]
        for number, client in enumerate(clients):
            ask(client, f"/{number}")
            waiting(front, number)
        assert backend.next() == b"/0"
        clients[1].sock.close()  # in the line, by FIN
        waiting(front, 2)
        clients[2].reset()
        waiting(front, 1)
        clients[0].reset()  # at the backend
        assert backend.next() == b"/3"
        backend.answer(2)
        assert clients[3].reply().body == b"/3"
        assert front.metric('fastproxy_queue_lost_total{queue="slow",reason="left"}') == 2
        assert front.metric('fastproxy_queue_running{queue="slow"}') == 0


def test_a_half_closed_client_that_is_being_served_gets_its_answer() -> None:
    with slow("at_once = 1") as (backend, front), front.client() as client:
        ask(client, "/0")
        backend.next()
        client.send_eof()
        backend.answer()
        assert client.reply().body == b"/0"


def test_a_handler_that_refuses_its_turn_passes_it_on() -> None:
    with slow("at_once = 1", 'max_body = "1KiB"') as (backend, front), ExitStack() as stack:
        first, large, last = (stack.enter_context(front.client()) for _ in range(3))
        ask(first, "/0")
        backend.next()
        ask(large, "/1", body=b"x" * 2000)
        waiting(front, 1)
        ask(last, "/2")
        waiting(front, 2)
        backend.answer(2)
        assert large.reply().status == 413
        assert last.reply().body == b"/2"
