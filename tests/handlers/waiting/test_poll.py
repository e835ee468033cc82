"""Many polls that all go on in the same instant."""

import asyncio
from unittest.mock import MagicMock, Mock

import pytest

from fastproxy.config.schema import Poll
from fastproxy.errors import ClientGone
from fastproxy.exchange import Exchange
from fastproxy.handlers.waiting.poll import HeldPoll, PollRoute
from fastproxy.loop.batches import AT_ONCE, CallBatches
from fastproxy.loop.deadlines import Deadlines
from fastproxy.polls.watch import Watch
from fastproxy.wire.head import RequestHeadParser
from tests.support.waiting import until

MANY = 5 * AT_ONCE // 2
HEAD = b"GET /?key=k&last=1 HTTP/1.1\r\nHost: h\r\n\r\n"


class Site:
    """A route, and polls of one key."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        settings = Poll(key="query:key", last="query:last")
        self.answered = 0
        self.held = Mock()
        metrics = MagicMock()
        metrics.cell.return_value = self.held
        self.deadlines = Deadlines(loop)
        self.watch = Watch(loop.time, each_has_channel=False)
        self.watch.connected()
        batches = CallBatches(loop)
        target = Mock(hints=b"")
        self.route = PollRoute(settings, target, self.watch, None, self.deadlines, batches, metrics)

    def report(self, exchange: Exchange) -> None:
        self.answered += 1

    def ask(self, count: int) -> None:
        parser = RequestHeadParser()
        for _ in range(count):
            self.route(Exchange(parser.parse(HEAD), Mock(is_blocked=False), self, 0))

    @property
    def waiting(self) -> int:
        return sum(call.args[0] for call in self.held.add.call_args_list)


def test_a_drain_answers_all_who_wait_but_not_in_one_turn_of_the_loop() -> None:
    async def main() -> None:
        site = Site()
        site.ask(MANY)
        site.watch.answered(b"k", b"1")
        assert site.waiting == MANY
        site.route.drain()
        seen = [site.answered]
        while site.answered < MANY:
            await asyncio.sleep(0)
            seen.append(site.answered)
        assert seen == [AT_ONCE, 2 * AT_ONCE, MANY]
        assert (site.waiting, len(site.route.waiting), len(site.deadlines)) == (0, 0, 0)

    asyncio.run(main())


@pytest.mark.parametrize("why", ["stale", "lost", "late"])
def test_who_is_passed_on_goes_with_few_others(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may take a connection of its own to the backend."""
    passed: list[HeldPoll] = []
    monkeypatch.setattr(HeldPoll, "_forward", lambda poll: passed.append(poll))  # noqa: PLW0108

    async def main() -> None:
        site = Site()
        site.route.pacer = Mock(add=lambda poll: poll.go())
        site.ask(MANY)
        if why == "stale":
            site.watch.answered(b"k", b"2")
        elif why == "lost":
            site.watch.lost()
        else:
            site.deadlines.check(site.deadlines.now + 100)
        assert len(passed) == AT_ONCE
        leaver = next(iter(site.route.waiting))
        leaver.client_failed(ClientGone("while it was to go"))
        await until(lambda: not site.route.waiting)
        assert len(passed) == MANY - 1
        assert site.waiting == 0, "nobody was held"

    asyncio.run(main())
