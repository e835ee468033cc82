"""So many at once, in order, and whoever left is passed over."""

from fastproxy.handlers.turns import Turns


def test_turns_are_given_in_order_and_those_who_left_are_passed_over() -> None:
    turns, begun = Turns(2), []

    def asking(name: str, *, stays: bool = True) -> None:
        turns.take(lambda: begun.append(name) or stays)

    for name in "abcd":
        asking(name)
    assert begun == ["a", "b"]
    turns.give()
    assert begun == ["a", "b", "c"]
    for _ in range(5_000):
        asking("-", stays=False)
    asking("e")
    turns.give()
    turns.give()
    assert [name for name in begun if name != "-"] == ["a", "b", "c", "d", "e"]
    turns.give()
    turns.give()
    asking("left", stays=False)
    asking("f")
    asking("g")
    asking("h")
    assert begun[-2:] == ["f", "g"]
