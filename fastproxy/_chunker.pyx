# cython: auto_pickle=False
# (it would read a slab as a C string)
"""Byte stream in, parts of an exact size out, in bounded memory. Contract: _chunker.pyi.

Who owns a slab is told by its reference count alone: the unfinished part, a `Part` that was not
released, and every memoryview hold one. When the last is gone, and not before, `_Slab.__dealloc__`
puts it on the free list. So memory that a transport still reads is never given to another upload.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.number cimport PyNumber_Index
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memmove

include "_slabs.pxi"


class PoolExhausted(MemoryError):
    """The pool has no free slab. Nothing was lost: release parts, or pause, and go on."""


class ChunkerClosed(ValueError):
    """The chunker was finished or closed and takes no more bytes."""


cdef list _NO_SLABS = []  # of everyone who has none; nobody may change it


cdef enum Stage:
    OPEN
    FINISHED
    CLOSED


@cython.final
cdef class Part:
    """A frozen run of bytes: `number` (from 1), `offset` in the stream, `size`, `views`.

    `is_whole`: all bytes of the part are in it. `is_end`: its last byte ends the part. A piece from
    `Chunker.take()` is neither; the piece that completes its part then is an end but not whole.
    """

    cdef readonly int64_t number
    cdef readonly int64_t offset
    cdef readonly Py_ssize_t size
    cdef readonly bint is_whole
    cdef readonly bint is_end
    cdef list slabs  # None once released
    cdef tuple cached_views

    def __init__(self):
        raise TypeError("parts come from a chunker")

    @property
    def is_released(self):
        return self.slabs is None

    @property
    def views(self):
        """Read-only views, in order. Raises ValueError once released."""
        slabs = self._held()
        if self.cached_views is None:
            self.cached_views = tuple([PyMemoryView_FromObject(slab) for slab in slabs])
        return self.cached_views

    def tobytes(self):
        """A copy of the bytes. Raises ValueError once released."""
        slabs = self._held()
        copy = PyBytes_FromStringAndSize(NULL, self.size)
        cdef char* target = PyBytes_AS_STRING(copy)
        cdef _Slab slab
        for slab in slabs:
            memcpy(target, slab.base, slab.filled)
            target += slab.filled
        return copy

    def release(self):
        """Give the slabs back (each as soon as its last view is gone). Idempotent."""
        self.slabs = None
        self.cached_views = None

    def __len__(self):
        return self.size

    def __bool__(self):
        return True

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc, tb):
        self.release()

    def __repr__(self):
        return f"<Part number={self.number} offset={self.offset} size={self.size}>"

    cdef list _held(self):
        if self.slabs is None:
            raise ValueError("the part was released")
        return self.slabs


cdef int64_t _checked_size(object size) except -1:
    cdef int64_t checked = PyNumber_Index(size)
    if checked < 1:
        raise ValueError(f"a part must have at least 1 byte, not {checked}")
    return checked


@cython.final
cdef class Chunker:
    """Cuts a byte stream into parts.

    `part_size` is the size of every part but the last, in bytes, or a function from a part's number
    (from 1) to its size. Complete parts wait in order for `next_part()`.
    """

    cdef SlabPool pool
    cdef Stage stage
    cdef int64_t fixed_size  # 0 when part_size is a function
    cdef object part_size
    cdef int64_t number      # of the unfinished part
    cdef int64_t size        # of it, once the function was asked; 0 before
    cdef list later          # what the function answered for the parts after it, or None
    cdef int64_t handed_over  # bytes of the unfinished part that take() gave away
    cdef readonly int64_t total
    cdef readonly Py_ssize_t tail_size
    cdef list tail           # slabs of the unfinished part: full and frozen ones, `slab`, `ahead`
    cdef _Slab slab          # the one being filled, or None
    cdef Py_ssize_t ahead    # empty ones behind it, which an open window reaches into
    cdef Py_ssize_t window   # bytes of the open window; 0: none is open
    cdef list ready          # None before the first part

    def __cinit__(self, SlabPool pool not None, object part_size):
        self.pool = pool
        self.stage = OPEN
        self.part_size = part_size
        if not callable(part_size):
            self.fixed_size = _checked_size(part_size)
        self.number = 1
        self.tail = _NO_SLABS

    @property
    def tail_slabs(self):
        """Slabs held by the unfinished part."""
        return len(self.tail)

    @property
    def room(self):
        """Bytes that can be taken now without waiting for memory (also across part ends)."""
        if self.stage != OPEN:
            return 0
        cdef int64_t slab_size = self.pool.slab_size
        cdef int64_t slack = self.ahead * slab_size
        if self.slab is not None:
            slack += slab_size - self.slab.filled
        cdef int64_t missing = self._part_missing()
        cdef int64_t slabs = self.pool.free_count
        cdef int64_t room = min(missing, slack)
        cdef Py_ssize_t ahead = 0
        missing -= room
        # A slab belongs to one part, so the last slab of each part may stay partly empty.
        while slabs > 0 and missing < slabs * slab_size:
            room += missing
            slabs -= missing // slab_size + (missing % slab_size != 0)
            ahead += 1
            missing = self._size_of(ahead)
        return room + slabs * slab_size

    @property
    def part_room(self):
        """Bytes still missing for the unfinished part to be complete."""
        return self._part_missing() if self.stage == OPEN else 0

    @property
    def is_finished(self):
        return self.stage == FINISHED

    def feed(self, data):
        """Copy `data` in; the number of bytes taken, less than len(data) only if the pool ran dry.

        Raises ChunkerClosed.
        """
        cdef Py_buffer source
        self._require_open()
        PyObject_GetBuffer(data, &source, PyBUF_SIMPLE)
        try:
            self.window = 0
            return self._copy_in(<const char*> source.buf, source.len)
        finally:
            PyBuffer_Release(&source)

    def get_buffer(self, Py_ssize_t sizehint=-1):
        """A writable window for the kernel to fill, never empty, within one part.

        Not longer than the rest of a slab, but for `sizehint` as long as free slabs lie behind it.
        Raises PoolExhausted, ChunkerClosed. Only the window of the latest call may be written.
        """
        self._require_open()
        self.window = 0
        if self._open_slab() == 0:
            raise PoolExhausted("the slab pool has no free slab")
        cdef _Window window = _Window.__new__(_Window)
        window.base = self.slab.base + self.slab.filled
        window.size = self.window = self._reach(sizehint)
        window.slabs = tuple(self.tail[len(self.tail) - self.ahead - 1:])
        return PyMemoryView_FromObject(window)

    def buffer_updated(self, Py_ssize_t nbytes):
        """The first `nbytes` of the window are filled. Raises ValueError if that cannot be."""
        self._require_open()
        if self.window == 0:
            raise ValueError("no window is open: get_buffer() comes first")
        if nbytes < 0 or nbytes > self.window:
            raise ValueError(f"{nbytes} bytes cannot be in a window of {self.window}")
        self.window = 0
        cdef Py_ssize_t step
        while nbytes > 0:
            step = min(self._open_slab(), nbytes)
            nbytes -= step
            self._grow(step)
        self._drop_empty_slabs()

    def next_part(self):
        """The next complete part, or None."""
        return self.ready.pop(0) if self.ready else None

    def take(self):
        """Hand over what is held of the unfinished part; it goes on with the room that is left.

        For spilling to disk and for stores that take pieces of any size.
        """
        self.window = 0
        if self.tail_size == 0:
            self._drop_empty_slabs()
            return None
        cdef Part part = self._freeze_tail(is_end=False)
        self.handed_over += part.size
        return part

    def cut(self):
        """End the unfinished part here, if it holds or handed over anything; begin the next."""
        self._require_open()
        self.window = 0
        if self.tail_size > 0 or self.handed_over > 0:
            self._end_part()
        else:
            self._drop_empty_slabs()

    def finish(self):
        """The stream has ended: the tail is the last part. An empty stream gives one empty part."""
        if self.stage == FINISHED:
            return
        self._require_open()
        self.window = 0
        if self.tail_size > 0 or self.handed_over > 0 or self.number == 1:
            self._end_part()
        else:
            self._drop_empty_slabs()
        self.stage = FINISHED

    def close(self):
        """Release everything not handed over. Idempotent; also done on deallocation."""
        self.stage = CLOSED
        self.window = self.ahead = 0
        self.slab = self.ready = None
        self.tail = _NO_SLABS
        self.tail_size = 0

    def __iter__(self):
        """Complete parts, until there are none."""
        while self.ready:
            yield self.next_part()

    def __repr__(self):
        return f"<Chunker total={self.total} number={self.number} tail_size={self.tail_size}>"

    cdef int _require_open(self) except -1:
        if self.stage == FINISHED:
            raise ChunkerClosed("the chunker is finished")
        if self.stage == CLOSED:
            raise ChunkerClosed("the chunker is closed")
        return 0

    cdef int64_t _size_of(self, Py_ssize_t ahead) except -1:
        """Size of the part `ahead` places after the unfinished one."""
        if self.fixed_size > 0:
            return self.fixed_size
        if self.size == 0:
            self.size = _checked_size(self.part_size(self.number))
        if ahead == 0:
            return self.size
        if self.later is None:
            self.later = []
        while len(self.later) < ahead:
            self.later.append(_checked_size(self.part_size(self.number + len(self.later) + 1)))
        return self.later[ahead - 1]

    cdef int64_t _part_missing(self) except -1:
        return self._size_of(0) - self.handed_over - self.tail_size

    cdef Py_ssize_t _open_slab(self) except -1:
        """Bytes that fit into the slab being filled and into its part; 0 if the pool is dry."""
        cdef int64_t missing = self._part_missing()
        self._require_open()  # part_size is foreign code and may have closed us
        if self.slab is None or self.slab.filled == self.pool.slab_size:
            self._next_slab()
            if self.slab is None:
                return 0
        return min(missing, self.pool.slab_size - self.slab.filled)

    cdef Py_ssize_t _copy_in(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t taken = 0, step
        while taken < size:
            step = min(self._open_slab(), size - taken)
            if step == 0:
                break
            # memmove: a caller may feed the very window it got from get_buffer().
            memmove(self.slab.base + self.slab.filled, data + taken, step)
            self._grow(step)
            taken += step
        return taken

    cdef int _grow(self, Py_ssize_t nbytes) except -1:
        self.slab.filled += nbytes
        self.tail_size += nbytes
        self.total += nbytes
        if self._part_missing() == 0:
            self._end_part()
        return 0

    cdef int _next_slab(self) except -1:
        """Freeze the full slab and begin the next one, if there is one: best the one behind it."""
        cdef _Slab full = self.slab
        if full is not None:
            full.is_frozen = True
        if self.ahead > 0:
            self.slab = self.tail[len(self.tail) - self.ahead]
            self.ahead -= 1
            return 0
        self.slab = None if full is None else self.pool._take_behind(full)
        if self.slab is None:
            self.slab = self.pool._take()
        if self.slab is not None:
            self.tail = self.tail or []
            self.tail.append(self.slab)
        return 0

    cdef Py_ssize_t _reach(self, Py_ssize_t wanted) except -1:
        """Take slabs that lie behind the one being filled; the size of the window over all."""
        cdef int64_t slab_size = self.pool.slab_size, missing = self._part_missing()
        cdef int64_t size = slab_size - self.slab.filled + self.ahead * slab_size
        cdef _Slab behind
        while size < wanted and size < missing:
            behind = self.pool._take_behind(self.tail[len(self.tail) - 1])
            if behind is None:
                break
            self.tail.append(behind)
            self.ahead += 1
            size += slab_size
        return min(size, missing)

    cdef int _drop_empty_slabs(self) except -1:
        """Give back the slabs at the end of the tail that hold nothing, the last first."""
        for _ in range(self.ahead):
            self.tail.pop()
        self.ahead = 0
        if self.slab is not None and self.slab.filled == 0:
            self.slab = None
            self.tail.pop()
        return 0

    cdef Part _freeze_tail(self, bint is_end):
        self._drop_empty_slabs()
        if self.slab is not None:
            self.slab.is_frozen = True
            self.slab = None
        cdef Part part = Part.__new__(Part)
        part.number = self.number
        part.offset = self.total - self.tail_size
        part.size = self.tail_size
        part.is_end = is_end
        part.is_whole = is_end and self.handed_over == 0
        part.slabs = self.tail
        self.tail = _NO_SLABS
        self.tail_size = 0
        return part

    cdef int _end_part(self) except -1:
        part = self._freeze_tail(is_end=True)
        if self.ready is None:
            self.ready = []
        self.ready.append(part)
        self.number += 1
        self.handed_over = 0
        self.size = self.later.pop(0) if self.later else 0
        return 0
