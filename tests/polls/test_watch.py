import pytest

from fastproxy.polls.watch import Watch, Work


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Poll:
    """A waiter that keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.is_lost = False

    def told(self, value: bytes) -> None:
        self.heard.append(value)

    def unwatched(self) -> None:
        self.is_lost = True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[False, True], ids=["one", "each"])
def watch(clock: Clock, request: pytest.FixtureRequest) -> Watch:
    made = Watch(clock, each_has_channel=request.param)
    made.connected()
    return made


def asked(watch: Watch) -> list[bytes]:
    """Do what is to be done up to the question."""
    work = watch.take()
    for key in work.subscribe:
        assert not work.ask
        watch.subscribed(key)
    return work.ask or watch.take().ask


def test_nothing_is_asked_for_before_changes_are_heard_of(clock: Clock) -> None:
    watch = Watch(clock, each_has_channel=True)
    watch.connected()
    watch.wait(b"k", Poll())
    assert watch.take() == Work(subscribe=[b"k"])
    assert not watch.take()
    watch.subscribed(b"k")
    assert watch.take() == Work(ask=[b"k"])


def test_many_who_wait_for_a_key_ask_once(watch: Watch) -> None:
    polls = [Poll() for _ in range(3)]
    for poll in polls:
        assert watch.wait(b"k", poll)
    assert asked(watch) == [b"k"]
    assert not watch.take()
    watch.answered(b"k", b"1")
    late = Poll()
    watch.wait(b"k", late)
    assert not watch.take()
    watch.announced(b"k", b"2")
    assert [poll.heard for poll in polls] == [[b"1", b"2"]] * 3
    assert late.heard == [b"1", b"2"]


def test_what_is_announced_is_newer_than_an_answer_that_was_on_its_way(watch: Watch) -> None:
    poll = Poll()
    watch.wait(b"k", poll)
    asked(watch)
    watch.announced(b"k", b"new")
    watch.answered(b"k", b"old")
    assert poll.heard == [b"new"]
    second = Poll()
    watch.wait(b"k", second)
    assert second.heard == [b"new"]


def test_a_value_is_asked_for_again_when_it_is_old(watch: Watch, clock: Clock) -> None:
    first, second = Poll(), Poll()
    watch.wait(b"k", first)
    asked(watch)
    watch.answered(b"k", b"1")
    clock.now += 6
    watch.wait(b"k", second)
    assert watch.take() == Work(ask=[b"k"])
    assert second.heard == []
    watch.answered(b"k", b"")
    assert (first.heard, second.heard) == ([b"1", b""], [b""])


def test_who_leaves_hears_nothing_more_and_the_key_is_forgotten_after_a_while(
    watch: Watch, clock: Clock
) -> None:
    poll = Poll()
    watch.wait(b"k", poll)
    ask = asked(watch)
    watch.leave(b"k", poll)
    watch.leave(b"k", poll)
    watch.sweep()
    assert len(watch) == 1, "it is being asked for"
    watch.answered(ask[0], b"1")
    watch.announced(b"k", b"2")
    assert poll.heard == []
    clock.now += 4
    watch.sweep()
    again = Poll()
    watch.wait(b"k", again)  # most who were answered come again
    assert (again.heard, bool(watch.take())) == ([b"2"], False)
    watch.leave(b"k", again)
    clock.now += 4
    watch.sweep()
    assert len(watch) == 1
    clock.now += 2
    watch.sweep()
    assert len(watch) == 0
    assert watch.take().unsubscribe in ([], [b"k"])


def test_a_channel_of_a_key_is_left_with_it(clock: Clock) -> None:
    watch = Watch(clock, each_has_channel=True)
    watch.connected()
    poll = Poll()
    watch.wait(b"k", poll)
    watch.answered(asked(watch)[0], b"1")
    watch.leave(b"k", poll)
    clock.now += 60
    watch.sweep()
    assert watch.take() == Work(unsubscribe=[b"k"])


def test_a_flood_of_keys_is_not_kept(watch: Watch) -> None:
    for number in range(11_000):
        poll, key = Poll(), b"%d" % number
        watch.wait(key, poll)
        watch.announced(key, b"1")
        watch.leave(key, poll)
    assert len(watch) == 10_000


def test_when_the_link_is_lost_all_are_told_and_nobody_waits(watch: Watch) -> None:
    polls = [Poll() for _ in range(4)]
    for number, poll in enumerate(polls):
        watch.wait(b"%d" % (number // 2), poll)
    watch.announced(b"0", b"x")
    watch.lost()
    assert all(poll.is_lost for poll in polls)
    assert not watch.take()
    assert not watch.wait(b"0", Poll())
    watch.answered(b"0", b"late")
    watch.connected()
    again = Poll()
    assert watch.wait(b"0", again)
    assert again.heard == []
    assert asked(watch) == [b"0"]


def test_a_waiter_may_leave_while_others_are_told(watch: Watch) -> None:
    class Leaving(Poll):
        def told(self, value: bytes) -> None:
            super().told(value)
            watch.leave(b"k", self)
            watch.leave(b"k", second)

    first, second = Leaving(), Poll()
    watch.wait(b"k", first)
    watch.wait(b"k", second)
    asked(watch)
    watch.answered(b"k", b"1")
    assert (first.heard, second.heard) == ([b"1"], [])


def test_that_a_key_has_no_value_is_asked_for_each_time(watch: Watch) -> None:
    first, second = Poll(), Poll()
    watch.wait(b"k", first)
    watch.answered(asked(watch)[0], b"")
    watch.wait(b"k", second)
    assert second.heard == []
    assert watch.take() == Work(ask=[b"k"])
