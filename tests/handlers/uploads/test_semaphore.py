"""So many at once, in order, and whoever left is passed over."""

from fastproxy.handlers.uploads.semaphore import CallbackSemaphore


def test_room_is_given_in_order_and_those_who_left_are_passed_over() -> None:
    storing, begun = CallbackSemaphore(2), []

    def asking(name: str, *, stays: bool = True) -> None:
        storing.acquire(lambda: begun.append(name) or stays)

    for name in "abcd":
        asking(name)
    assert begun == ["a", "b"]
    storing.release()
    assert begun == ["a", "b", "c"]
    for _ in range(5_000):
        asking("-", stays=False)
    asking("e")
    storing.release()
    storing.release()
    assert [name for name in begun if name != "-"] == ["a", "b", "c", "d", "e"]
    storing.release()
    storing.release()
    asking("left", stays=False)
    asking("f")
    asking("g")
    asking("h")
    assert begun[-2:] == ["f", "g"]
