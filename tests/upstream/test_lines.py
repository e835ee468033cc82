"""Two lines before one door."""

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.upstream.lines import Line, Lines

lines = st.sampled_from(Line)


@given(st.lists(lines, max_size=20), st.sets(st.integers(0, 19)))
def test_each_line_keeps_its_order_and_neither_is_served_twice_while_the_other_waits(
    joined: list[Line], gone: set[int]
) -> None:
    queue: Lines[int, Line] = Lines()
    for who, line in enumerate(joined):
        queue.join(line, who, line)
    for who in gone:
        assert queue.leave(who) == (joined[who] if who < len(joined) else None)
    waiting = {
        line: [who for who, mine in enumerate(joined) if mine is line and who not in gone]
        for line in Line
    }
    before = None
    while queue.count:
        assert queue.count == sum(map(len, waiting.values()))
        assert [queue.length(line) for line in Line] == [len(waiting[line]) for line in Line]
        found = queue.next()
        assert found is not None
        who, line = found
        assert who == waiting[line].pop(0)
        other = next(each for each in Line if each is not line)
        assert line is not before or not waiting[other]
        before = line
    assert queue.next() is None
    assert not any(waiting.values())


def test_a_request_goes_first() -> None:
    queue: Lines[str, bool] = Lines()
    queue.join(Line.QUESTIONS, "question", True)
    queue.join(Line.REQUESTS, "request", True)
    assert queue.next() == ("request", True)
