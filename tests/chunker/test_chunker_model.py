"""The compiled chunker against the model, for any order of calls on two chunkers of one pool."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fastproxy.chunker import Chunker, ChunkerClosed, Part, PoolExhausted, SlabPool

from .model import ModelChunker, ModelPart, ModelPool, Slab

JUNK = 0xEE
which = st.integers(0, 1)
any_index = st.integers(0, 1000)
hints = st.integers(-1, 60)
keeps = st.booleans()
part_sizes = st.one_of(
    st.integers(1, 40),
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
)


class ChunkerMachine(RuleBasedStateMachine):
    @initialize(
        slab_size=st.integers(1, 9),
        slabs=st.integers(1, 12),
        spare=st.integers(0, 1000),
        sizes=st.tuples(part_sizes, part_sizes),
    )
    def begin(self, slab_size, slabs, spare, sizes):
        self.pool = SlabPool(slab_size * slabs + spare % slab_size, slab_size)
        self.model_pool = ModelPool(slab_size, slabs)
        self.asked = [[], []]
        self.chunkers, self.models = [], []
        for index, size in enumerate(sizes):
            function = self.size_function(size)
            real = function if isinstance(size, int) else self.recording(function, index)
            self.chunkers.append(Chunker(self.pool, size if isinstance(size, int) else real))
            self.models.append(ModelChunker(self.model_pool, function))
        self.parts: list[tuple[Part, ModelPart]] = []
        self.views: list[tuple[memoryview, bytes, Slab]] = []
        self.windows: list[tuple[memoryview, list[Slab]]] = []

    def size_function(self, size):
        if isinstance(size, int):
            return lambda number: size
        return lambda number: size[min(number, len(size)) - 1]

    def recording(self, function, index):
        def ask(number):
            self.asked[index].append(number)
            return function(number)

        return ask

    @rule(i=which, data=st.binary(max_size=60))
    def feed(self, i, data):
        if not self.models[i].is_open:
            with pytest.raises(ChunkerClosed):
                self.chunkers[i].feed(data)
            return
        room = self.models[i].room
        taken = self.models[i].feed(data)
        assert taken == min(room, len(data))
        assert self.chunkers[i].feed(data) == taken

    @rule(i=which, hint=hints, data=st.binary(min_size=60, max_size=60), n=any_index, keep=keeps)
    def fill_window(self, i, hint, data, n, keep):
        window, slabs = self.open_window(i, hint)
        if window is None:
            return
        if keep:
            for slab in slabs:
                slab.owners += 1
            self.windows.append((window, slabs))
        n %= len(window) + 1
        window[:] = bytes([JUNK]) * len(window)
        window[:n] = data[:n]
        self.chunkers[i].buffer_updated(n)
        self.models[i].buffer_updated(data[:n])

    @rule(i=which, hint=hints)
    def ask_for_a_window_and_leave_it(self, i, hint):
        self.open_window(i, hint)

    def open_window(self, i, hint):
        model, chunker = self.models[i], self.chunkers[i]
        if not model.is_open:
            with pytest.raises(ChunkerClosed):
                chunker.get_buffer(hint)
            return None, []
        if not model.has_window():
            with pytest.raises(PoolExhausted):
                chunker.get_buffer(hint)
            return None, []
        window = chunker.get_buffer(hint)
        assert (window.readonly, window.itemsize) == (False, 1)
        return window, model.open_window(len(window), hint)

    @rule(i=which, beyond=st.integers(1, 5))
    def report_what_cannot_be(self, i, beyond):
        for count in (-beyond, self.models[i].window + beyond):
            with pytest.raises(ValueError):  # noqa: PT011  it may be closed, too
                self.chunkers[i].buffer_updated(count)

    @rule(i=which)
    def take(self, i):
        self.receive(self.chunkers[i].take(), self.models[i].take())

    @rule(i=which)
    def next_part(self, i):
        self.receive(self.chunkers[i].next_part(), self.models[i].next_part())

    def receive(self, part, expected):
        if expected is None:
            assert part is None
            return
        assert part.number == expected.number
        assert part.offset == expected.offset
        assert part.size == len(part) == len(expected.data)
        assert part.is_whole == expected.is_whole
        assert part.is_end == expected.is_end
        assert bool(part)
        self.parts.append((part, expected))

    @rule(i=which)
    def cut(self, i):
        if self.models[i].is_open:
            self.models[i].cut()
            self.chunkers[i].cut()
        else:
            with pytest.raises(ChunkerClosed):
                self.chunkers[i].cut()

    @rule(i=which, often=st.integers(0, 3))
    def finish(self, i, often):
        if often:  # most runs go on
            return
        if self.models[i].is_closed:
            with pytest.raises(ChunkerClosed):
                self.chunkers[i].finish()
        else:
            self.models[i].finish()
            self.chunkers[i].finish()

    @rule(i=which, often=st.integers(0, 5))
    def close(self, i, often):
        if not often:
            self.models[i].close()
            self.chunkers[i].close()

    @precondition(lambda self: self.parts)
    @rule(k=any_index)
    def hold_a_view(self, k):
        part, expected = self.parts[k % len(self.parts)]
        if expected.is_released or not part.views:
            return
        n = k % len(part.views)
        view = part.views[n][:]  # a slice counts like the view itself
        expected.slabs[n].owners += 1
        self.views.append((view, expected.views[n], expected.slabs[n]))

    @precondition(lambda self: self.parts)
    @rule(k=any_index, how=st.sampled_from(["release", "with", "drop"]))
    def let_a_part_go(self, k, how):
        part, expected = self.parts[k % len(self.parts)]
        expected.release()
        if how == "release":
            part.release()
        elif how == "with":
            with part as same:
                assert same is part
        else:
            del self.parts[k % len(self.parts)]

    @precondition(lambda self: self.views)
    @rule(k=any_index)
    def drop_a_view(self, k):
        view, _, slab = self.views.pop(k % len(self.views))
        view.release()
        slab.disown()

    @precondition(lambda self: self.windows)
    @rule(k=any_index)
    def drop_a_window(self, k):
        _, slabs = self.windows.pop(k % len(self.windows))
        for slab in slabs:
            slab.disown()

    @rule()
    def trim(self):
        self.pool.trim()

    @invariant()
    def counters_are_equal(self):
        if not hasattr(self, "pool"):
            return
        assert self.pool.slab_count == self.model_pool.slab_count
        assert self.pool.used_count == self.model_pool.used
        assert self.pool.free_count == self.pool.slab_count - self.model_pool.used
        assert self.pool.peak_count == self.model_pool.peak
        for chunker, model in zip(self.chunkers, self.models, strict=True):
            assert chunker.total == model.total
            assert chunker.tail_size == len(model.tail)
            assert chunker.tail_slabs == len(model.slabs)
            assert chunker.part_room == model.part_room
            assert chunker.is_finished == model.is_finished
            assert chunker.room == model.room

    @invariant()
    def bytes_handed_out_never_change(self):
        if not hasattr(self, "pool"):
            return
        for part, expected in self.parts:
            assert part.is_released == expected.is_released
            if not expected.is_released:
                assert part.tobytes() == expected.data
                assert [bytes(view) for view in part.views] == expected.views
                assert all(view.readonly for view in part.views)
        for view, data, _ in self.views:
            assert view == data

    @invariant()
    def each_part_size_is_asked_for_once_and_in_order(self):
        for asked in getattr(self, "asked", ()):
            assert asked == list(range(1, len(asked) + 1))

    def teardown(self):
        if not hasattr(self, "pool"):
            return
        self.chunkers.clear()
        self.parts.clear()
        self.views.clear()
        self.windows.clear()
        assert self.pool.used_count == 0


TestChunkerAgainstItsModel = ChunkerMachine.TestCase
