"""Bodies in chunks (RFC 9112 section 7.1), with nothing forgiven.

A line of framing that lies whole in what was read is judged in one walk in C. Of any other the
beginning is kept until its end is here; then it is judged in Python, which also says what is wrong.
"""

import re

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.pyport cimport PY_SSIZE_T_MAX
from libc.string cimport memmove

from fastproxy.errors import BadBody

cdef object _SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\Z"
).match
cdef object _TRAILER_LINE = re.compile(
    rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\Z"
).match

cdef enum:
    _MOST_DIGITS = 15
    _MAX_SIZE_LINE = 272  # they, and 256 bytes of extension
    _MAX_TRAILERS = 8192
    _SMALL = 2048  # payload that is moved to its neighbour: a piece of its own would cost more


cdef enum Step:
    SIZE  # reading a line with the size of a chunk
    DATA  # inside a chunk
    DATA_END  # the CRLF behind a chunk
    TRAILER  # lines behind the last chunk, up to an empty one
    DONE


cdef int _digit(unsigned char byte) noexcept:
    """What a hexadecimal digit is worth; -1 for anything else."""
    if b"0" <= byte <= b"9":
        return byte - 48
    byte |= 32
    return byte - 87 if b"a" <= byte <= b"f" else -1


cdef Py_ssize_t _size_line(const unsigned char* at, Py_ssize_t left, long long* found) noexcept:
    """How long a line with a size is, its CRLF included, and the size; 0: it must be judged.

    At most `left` bytes are looked at.
    """
    cdef Py_ssize_t end = 0
    cdef long long size = 0
    left = min(left, _MAX_SIZE_LINE + 2)
    while end < left and end < _MOST_DIGITS and _digit(at[end]) >= 0:
        size = size * 16 + _digit(at[end])
        end += 1
    if end == 0:
        return 0
    if end < left and at[end] != 13:
        while end < left and (at[end] == 32 or at[end] == 9):
            end += 1
        if end == left or at[end] != b";":
            return 0
        while end < left and (at[end] >= 32 and at[end] != 127 or at[end] == 9):
            end += 1
    if left - end < 2 or at[end] != 13 or at[end + 1] != 10:
        return 0
    found[0] = size
    return end + 2


cdef class ChunkedDecoder:
    """See BodyDecoder in framing.py."""

    cdef Step step
    cdef long long remaining  # of the chunk
    cdef Py_ssize_t trailer_bytes
    cdef bytes line  # of framing, as far as it has come

    def __cinit__(self):
        self.step = SIZE
        self.line = b""

    @property
    def is_done(self):
        """See BodyDecoder."""
        return self.step == DONE

    def decode(self, data):
        """See BodyDecoder. In memory that can be written to, small pieces are moved together."""
        cdef Py_buffer source
        cdef Py_ssize_t taken
        cdef list edges = []
        PyObject_GetBuffer(data, &source, PyBUF_SIMPLE)
        try:
            taken = self._walk(&source, 0 if source.readonly else _SMALL, edges)
        finally:
            PyBuffer_Release(&source)
        return [data[start:end] for start, end in edges], taken

    def squeeze(self, window):
        """See BodyDecoder. Raises BufferError when `window` cannot be written to."""
        cdef Py_buffer memory
        cdef Py_ssize_t taken
        cdef list edges = []
        PyObject_GetBuffer(window, &memory, PyBUF_WRITABLE)
        try:
            taken = self._walk(&memory, PY_SSIZE_T_MAX, edges)
        finally:
            PyBuffer_Release(&memory)
        return (edges[0][1] if edges else 0), taken

    def reach(self, beyond):
        """See BodyDecoder."""
        return self.remaining + beyond

    def at_eof(self):
        """See BodyDecoder."""
        return self.step == DONE

    cdef Py_ssize_t _walk(self, Py_buffer* data, Py_ssize_t small, list edges) except -1:
        """Read all of it, to the body's end; the position there. `edges`: where payload lies then.

        Of two neighbours, payload of fewer than `small` bytes is moved next to the other. With
        PY_SSIZE_T_MAX all of it is moved to the front.
        """
        cdef unsigned char* memory = <unsigned char*>data.buf
        cdef Py_ssize_t at = 0, start = 0, end = 0, size
        while at < data.len and self.step != DONE:
            if self.step != DATA:
                at = self._pass_line(memory, at, data.len)
                continue
            size = min(data.len - at, self.remaining)
            if small == PY_SSIZE_T_MAX or start < end and min(size, end - start) < small:
                if end < at:
                    memmove(memory + end, memory + at, size)
            else:
                if start < end:
                    edges.append((start, end))
                start = end = at
            end += size
            at += size
            self.remaining -= size
            if not self.remaining:
                self.step = DATA_END
        if start < end:
            edges.append((start, end))
        return at

    cdef Py_ssize_t _pass_line(
        self, const unsigned char* data, Py_ssize_t at, Py_ssize_t end
    ) except -1:
        """Read on in a line; the position behind what was read."""
        cdef Py_ssize_t size
        if not self.line and self.step == SIZE:
            size = _size_line(data + at, end - at, &self.remaining)
            if size:
                self.step = DATA if self.remaining else TRAILER
                return at + size
        elif not self.line and end - at >= 2 and data[at] == 13 and data[at + 1] == 10:
            self.step = SIZE if self.step == DATA_END else DONE
            return at + 2
        return at + self._keep_line(data + at, end - at)

    cdef Py_ssize_t _keep_line(self, const unsigned char* data, Py_ssize_t left) except -1:
        """Take of a line what is there, and judge it if that is all; how much was taken."""
        cdef Py_ssize_t limit = self._line_limit()
        cdef bytes taken = PyBytes_FromStringAndSize(<const char*>data, min(left, limit + 2))
        cdef Py_ssize_t newline = taken.find(b"\n")
        if newline >= 0:
            taken = taken[: newline + 1]
        line = self.line + taken
        if len(line) > limit + 2:
            raise BadBody("chunk line too long")
        if newline < 0:
            self.line = line
            if self.step == DATA_END and not b"\r\n".startswith(line):
                raise BadBody("no CRLF behind chunk")
        else:
            self.line = b""
            if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
                raise BadBody("bare CR or LF in chunk framing")
            self._on_line(line[:-2])
        return len(taken)

    cdef Py_ssize_t _line_limit(self) noexcept:
        if self.step == SIZE:
            return _MAX_SIZE_LINE
        if self.step == DATA_END:
            return 0
        # Not below 0, where nothing would ever be taken: a line's end may lie beyond the limit.
        return max(0, _MAX_TRAILERS - self.trailer_bytes)

    cdef int _on_line(self, bytes line) except -1:
        if self.step == SIZE:
            match = _SIZE_LINE(line)
            if match is None:
                raise BadBody("chunk size")
            self.remaining = int(match[1], 16)
            self.step = DATA if self.remaining else TRAILER
        elif self.step == DATA_END:
            if line:
                raise BadBody("no CRLF behind chunk")
            self.step = SIZE
        elif line:
            self.trailer_bytes += len(line) + 2
            if _TRAILER_LINE(line) is None:
                raise BadBody("trailer")
        else:
            self.step = DONE
        return 0
