# Slabs and their pool: the memory below the chunker. Included by _chunker.pyx.

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memset
from posix.mman cimport (
    MADV_DONTNEED, MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE,
    madvise, mmap, munmap,
)
from posix.unistd cimport _SC_PAGESIZE, sysconf

cdef extern from *:
    """
    #ifdef __SANITIZE_ADDRESS__  /* free slabs are poison (tests/isolated/asan.sh) */
    #include <sanitizer/asan_interface.h>
    #else
    #define ASAN_POISON_MEMORY_REGION(start, size)
    #define ASAN_UNPOISON_MEMORY_REGION(start, size)
    #endif
    """
    void ASAN_POISON_MEMORY_REGION(void* start, size_t size) noexcept
    void ASAN_UNPOISON_MEMORY_REGION(void* start, size_t size) noexcept


cdef char* BYTE_FORMAT = b"B"  # struct module syntax: unsigned bytes


cdef enum Touch:
    FRESH  # free, and the kernel has not committed memory to it
    DIRTY  # free, and still backed by memory
    TAKEN


@cython.final
cdef class SlabPool:
    """A hard budget of `budget` bytes (rounded down to whole slabs of `slab_size` bytes)."""

    cdef readonly Py_ssize_t slab_size
    cdef readonly Py_ssize_t slab_count
    cdef readonly Py_ssize_t free_count
    cdef readonly Py_ssize_t peak_count
    cdef public object on_free
    cdef char* memory
    cdef unsigned char* is_free  # one byte per slab
    cdef Py_ssize_t lowest       # no slab before this one is free
    cdef unsigned char* touched  # one Touch per slab

    def __cinit__(self, Py_ssize_t budget, Py_ssize_t slab_size=65536):
        if slab_size < 1:
            raise ValueError("slab_size must be at least 1")
        if budget < slab_size:
            raise ValueError("the budget does not hold one slab")
        self.slab_size = slab_size
        self.slab_count = self.free_count = budget // slab_size
        self._allocate()

    cdef int _allocate(self) except -1:
        self.is_free = <unsigned char*> malloc(self.slab_count)
        self.touched = <unsigned char*> malloc(self.slab_count)
        if self.is_free == NULL or self.touched == NULL:
            raise MemoryError("no memory for the slab lists")
        memset(self.is_free, True, self.slab_count)
        memset(self.touched, FRESH, self.slab_count)
        cdef void* memory = mmap(
            NULL, self.slab_count * self.slab_size,
            PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0,
        )
        if memory == MAP_FAILED:
            raise MemoryError("the kernel refused the slab mapping")
        self.memory = <char*> memory
        ASAN_POISON_MEMORY_REGION(self.memory, self.slab_count * self.slab_size)
        return 0

    def __del__(self):
        # When the collector frees us in a cycle with our slabs, nobody waits for them any more.
        self.on_free = None

    def __dealloc__(self):
        # Every slab holds a reference to its pool, so no view is left when this runs.
        if self.memory != NULL:
            ASAN_UNPOISON_MEMORY_REGION(self.memory, self.slab_count * self.slab_size)
            munmap(self.memory, self.slab_count * self.slab_size)
        free(self.is_free)
        free(self.touched)

    @property
    def used_count(self):
        return self.slab_count - self.free_count

    def trim(self):
        """Give the memory of free slabs back to the kernel (MADV_DONTNEED); bytes given back."""
        cdef Py_ssize_t first = 0, after, freed = 0
        while first < self.slab_count:
            if self.touched[first] != DIRTY:
                first += 1
                continue
            after = first + 1
            while after < self.slab_count and self.touched[after] == DIRTY:
                after += 1
            freed += self._trim_run(first, after)
            first = after
        return freed

    cdef Py_ssize_t _trim_run(self, Py_ssize_t first, Py_ssize_t after) noexcept:
        """Drop the pages that lie entirely in slabs [first, after)."""
        cdef Py_ssize_t page = sysconf(_SC_PAGESIZE), size = self.slab_size
        cdef Py_ssize_t start = (first * size + page - 1) // page * page
        cdef Py_ssize_t end = after * size // page * page
        if after == self.slab_count:  # the mapping's last page holds nobody else
            end = (after * size + page - 1) // page * page
        if start >= end or madvise(self.memory + start, end - start, MADV_DONTNEED) != 0:
            return 0
        first = (start + size - 1) // size
        after = min(after, end // size)
        if first < after:
            memset(self.touched + first, FRESH, after - first)
        return end - start

    cdef _Slab _take(self):
        """The first free slab, or None.

        So the free ones stay together, and a stream finds many in a row for its windows, whatever
        came and went before.
        """
        if self.free_count == 0:
            return None
        cdef unsigned char* first = <unsigned char*> memchr(
            self.is_free + self.lowest, True, self.slab_count - self.lowest
        )
        self.lowest = first - self.is_free
        return self._take_at(self.lowest)

    cdef _Slab _take_behind(self, _Slab slab):
        """The slab whose memory follows that of `slab` if it is free, or None."""
        cdef Py_ssize_t index = slab.index + 1
        if index == self.slab_count or not self.is_free[index]:
            return None
        return self._take_at(index)

    cdef _Slab _take_at(self, Py_ssize_t index):
        cdef _Slab slab = _Slab.__new__(_Slab)
        self.free_count -= 1
        self.is_free[index] = False
        slab.pool = self
        slab.index = index
        slab.base = self.memory + index * self.slab_size
        ASAN_UNPOISON_MEMORY_REGION(slab.base, self.slab_size)
        self.touched[index] = TAKEN
        self.peak_count = max(self.peak_count, self.slab_count - self.free_count)
        return slab

    cdef void _give_back(self, Py_ssize_t index) noexcept:
        ASAN_POISON_MEMORY_REGION(self.memory + index * self.slab_size, self.slab_size)
        self.touched[index] = DIRTY
        self.is_free[index] = True
        self.lowest = min(self.lowest, index)
        self.free_count += 1
        if self.on_free is not None:
            callback, self.on_free = self.on_free, None
            callback()  # what it raises goes to sys.unraisablehook: we may be in a deallocation


@cython.final
@cython.internal
@cython.no_gc_clear  # __dealloc__ needs the pool, also when the collector breaks a cycle
@cython.freelist(64)
cdef class _Slab:
    """One taken slab. Its buffer is what is filled, read-only, once it is frozen."""

    cdef SlabPool pool
    cdef Py_ssize_t index
    cdef char* base  # NULL in a slab that Python code made itself
    cdef Py_ssize_t filled
    cdef bint is_frozen

    def __init__(self):
        raise TypeError("slabs come from a pool")

    def __dealloc__(self):
        if self.base != NULL:
            self.pool._give_back(self.index)

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        if not self.is_frozen:
            raise BufferError("the slab is being filled")
        if flags & PyBUF_WRITABLE:
            raise BufferError("a frozen slab is read-only")
        _describe(buffer, flags, self, self.base, self.filled)


@cython.final
@cython.internal
@cython.no_gc_clear  # nor does a tuple let go: a view in a cycle never sees memory of others
@cython.freelist(8)
cdef class _Window:
    """A writable run of bytes behind what is filled; its slabs lie next to each other in memory."""

    cdef tuple slabs
    cdef char* base
    cdef Py_ssize_t size

    def __init__(self):
        raise TypeError("windows come from a chunker")

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        if self.base == NULL:
            raise BufferError("a window comes from a chunker")
        _describe(buffer, flags, self, self.base, self.size)


cdef void _describe(
    Py_buffer* buffer, int flags, object owner, char* base, Py_ssize_t size
) noexcept:
    """Plain bytes from `base` on; read-only unless they are a window."""
    buffer.buf = base
    buffer.len = size
    buffer.obj = owner
    buffer.readonly = not isinstance(owner, _Window)
    buffer.itemsize = 1
    buffer.format = BYTE_FORMAT if flags & PyBUF_FORMAT else NULL
    buffer.ndim = 1
    buffer.shape = &buffer.len if flags & PyBUF_ND else NULL
    buffer.strides = &buffer.itemsize if flags & PyBUF_STRIDES == PyBUF_STRIDES else NULL
    buffer.suboffsets = NULL
    buffer.internal = NULL
