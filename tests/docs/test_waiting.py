"""Every configuration of docs/waiting.md, served as printed."""

import threading
from contextlib import ExitStack

from tests.docs.shell import blocks
from tests.support.harness import proxy
from tests.support.origin import Peer, origin, response
from tests.support.waiting import eventually

CONFIGURATIONS = [block.text for block in blocks("toml") if block.document == "docs/waiting.md"]


def test_the_queue_of_the_document_takes_turns_and_refuses_what_is_too_much() -> None:
    (text,) = [text for text in CONFIGURATIONS if "[route.queue]" in text]
    go = threading.Event()

    def script(peer: Peer) -> None:
        while request := peer.request():
            if request.target != b"/":
                go.wait(20)
            peer.send(response(request.target))

    with origin(script) as backend, ExitStack() as stack:
        text = text.replace("http://127.0.0.1:3000", backend.address)
        front = stack.enter_context(proxy(text))
        clients = [stack.enter_context(front.client()) for _ in range(7)]
        series = 'fastproxy_queue_{}{{queue="search"}}'
        for number, client in enumerate(clients[:6]):
            client.send(b"GET /search/%d HTTP/1.1\r\nHost: h\r\n\r\n" % number)
            name, count = ("running", number + 1) if number < 2 else ("waiting", number - 1)
            eventually(lambda n=name, c=count: front.metric(series.format(n)) == c, f"{number}")
        assert clients[6].get("/search/6").status == 429
        assert front.get("/").status == 200
        go.set()
        for number, client in enumerate(clients[:6]):
            assert client.reply().body == b"/search/%d" % number
