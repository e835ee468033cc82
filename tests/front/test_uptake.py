"""What a client must take of what waits for it, by a clock that is ours."""

import pytest

from fastproxy.config.schema import Duration, Limits, Size
from fastproxy.errors import ClientGone, TooSlow
from fastproxy.front.uptake import Uptake

LIMITS = Limits(
    send_timeout=Duration(60), min_send_rate=Size(1000), rate_grace=Duration(10)
)  # 10,000 bytes in each window


def watched(limits: Limits = LIMITS, *, taken: int = 0) -> Uptake:
    uptake = Uptake(limits)
    uptake.watch(taken, 0, 100.0, waits=True)
    return uptake


def test_who_takes_nothing_within_the_timeout_is_gone() -> None:
    uptake = watched(Limits(send_timeout=Duration(60)))
    assert uptake.patience_s(100.0) == 60
    assert uptake.judge(1, 0, 160.0) is None
    assert uptake.judge(1, 0, 219.0) is None
    assert isinstance(uptake.judge(1, 0, 220.0), ClientGone)


def test_what_the_client_sends_is_a_sign_of_life_too() -> None:
    uptake = watched(Limits(send_timeout=Duration(60)))
    assert uptake.judge(0, 5, 160.0) is None
    assert uptake.judge(0, 5, 219.0) is None
    assert isinstance(uptake.judge(0, 5, 220.0), ClientGone)


@pytest.mark.parametrize(("size", "is_slow"), [(9_999, True), (10_000, False)])
def test_the_average_of_a_window_counts(size: int, is_slow: bool) -> None:
    uptake = watched(taken=50_000)
    assert uptake.patience_s(100.0) == 10
    assert uptake.judge(50_001, 0, 109.0) is None
    assert isinstance(uptake.judge(50_000 + size, 0, 110.0), TooSlow) is is_slow


def test_nobody_lives_on_what_he_took_in_an_earlier_window() -> None:
    uptake = watched()
    assert uptake.judge(1_000_000, 0, 110.0) is None
    assert uptake.patience_s(110.0) == 10
    assert isinstance(uptake.judge(1_000_001, 0, 120.0), TooSlow)


def test_time_in_which_nothing_waits_does_not_count() -> None:
    uptake = watched()
    uptake.rest(104.0)
    assert uptake.judge(1, 0, 130.0) is None
    uptake.watch(1, 0, 200.0, waits=True)
    assert uptake.patience_s(200.0) == 6  # four seconds of the window are over
    assert uptake.judge(2, 0, 205.0) is None
    assert isinstance(uptake.judge(2, 0, 206.0), TooSlow)


def test_short_waits_add_up() -> None:
    """A client whose socket has room now and then is judged all the same."""
    uptake = watched()
    for second in range(101, 120, 2):
        uptake.rest(float(second))
        uptake.watch(second, 0, second + 1.0, waits=True)
    assert uptake.patience_s(120.0) == 0
    assert isinstance(uptake.judge(200, 0, 120.0), TooSlow)


def test_a_half_closed_tunnel_has_no_rate() -> None:
    uptake = Uptake(LIMITS)
    uptake.watch(0, 0, 100.0, waits=False)
    assert uptake.patience_s(100.0) == 60
    assert uptake.judge(1, 0, 150.0) is None


def test_a_window_is_never_shorter_than_a_second() -> None:
    uptake = watched(Limits(min_send_rate=Size(1000), rate_grace=Duration(0)))
    assert uptake.judge(0, 0, 100.5) is None
    assert isinstance(uptake.judge(0, 0, 101.0), TooSlow)
