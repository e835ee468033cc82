"""The shared read buffer: large while few large ones are held, small otherwise."""

from fastproxy.wire.scratch import HEAD_READ_BYTES, LARGE_AT_MOST, LARGE_BYTES, SMALL_BYTES, Scratch


def test_what_was_left_to_somebody_is_not_read_into_again() -> None:
    scratch = Scratch()
    held = scratch.view[:3]
    held[:] = b"abc"
    scratch.renew()
    scratch.view[:3] = b"xyz"
    assert held == b"abc"


def test_only_so_many_large_buffers_are_held_at_a_time() -> None:
    scratch = Scratch()
    held = []
    for _ in range(LARGE_AT_MOST + 10):
        held.append(scratch.view[:1])
        scratch.renew()
    sizes = [len(view.obj) for view in held]
    assert sizes == [LARGE_BYTES] * LARGE_AT_MOST + [SMALL_BYTES] * 10
    assert len(scratch.view) == SMALL_BYTES
    free = held.pop(20).obj
    found = []
    for _ in range(LARGE_AT_MOST):  # a few are looked at each time
        scratch.renew()
        found.append(scratch.view.obj)
    assert any(buffer is free for buffer in found)


def test_a_head_is_read_a_little_at_a_time() -> None:
    scratch = Scratch()
    assert len(scratch.head_view) == HEAD_READ_BYTES
    scratch.head_view[:1] = b"h"
    assert scratch.view[:1] == b"h"


def test_a_large_buffer_is_used_again_once_nobody_holds_it() -> None:
    scratch = Scratch()
    first = scratch.view[:1]
    scratch.renew()
    second = scratch.view[:1]
    held = first.obj
    first.release()
    scratch.renew()
    assert scratch.view.obj is held
    assert len(held) == LARGE_BYTES
    assert second.obj is not held
