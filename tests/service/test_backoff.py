from fastproxy.service.backoff import MAX_DEATHS, MAX_S, STEADY_S, WINDOW_S, Backoff, DeathRate


def test_each_short_life_doubles_the_wait_up_to_a_limit() -> None:
    backoff = Backoff()
    assert [backoff.delay(0.0) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, MAX_S, MAX_S]


def test_a_steady_life_is_followed_at_once_and_forgives_the_past() -> None:
    backoff = Backoff()
    backoff.delay(0.0)
    backoff.delay(0.0)
    assert backoff.delay(STEADY_S) == 0.0
    assert backoff.delay(0.0) == 0.1


def test_more_than_so_many_deaths_in_a_window_are_too_many() -> None:
    rate = DeathRate()
    assert not any(rate.note(float(i)) for i in range(MAX_DEATHS))
    assert rate.note(MAX_DEATHS + 1.0)


def test_old_deaths_are_forgotten() -> None:
    rate = DeathRate()
    for i in range(MAX_DEATHS + 1):
        rate.note(float(i))
    assert not rate.note(WINDOW_S + MAX_DEATHS)
