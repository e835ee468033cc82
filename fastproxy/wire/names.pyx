"""Field names in C: what a field is, without an object made of its name.

The tables are those of head.pyx, and what is said of other names is said there, too.
"""

from libc.string cimport memchr, memcpy

from fastproxy.wire.fields import (
    CLAIM_PREFIX, FILES_TO_SEND, PRIVATE_PREFIXES, PRIVATE_TYPES,
)
from fastproxy.wire.head import REQUEST_KINDS, RESPONSE_KINDS

from fastproxy.wire.head cimport CLAIM, CONTROL, DROPPED, PLAIN

cdef enum:
    _NAME_BYTES = 24  # longer than every name that means something to us
    _NAMES = 8  # of one length
    _CONTROLS = 8
    _DIALECTS = 2

cdef struct Name:
    char lower[_NAME_BYTES]
    int kind

cdef struct Names:  # by their length
    Name of_size[_NAME_BYTES][_NAMES]
    int count[_NAME_BYTES]

cdef struct Prefix:
    char lower[_NAME_BYTES * 2]
    Py_ssize_t size

cdef Names _REQUEST_NAMES, _RESPONSE_NAMES
cdef unsigned char _LOWER[256]  # of a letter of a name (RFC 9110 section 5.6.2), else 0
cdef Prefix _CLAIM
cdef Prefix _PRIVATE[_DIALECTS]
cdef Prefix _PRIVATE_TYPE[_DIALECTS]
cdef Prefix _CONTROL[_CONTROLS]
cdef int _controls = 0


cdef _fill(Names* names, dict kinds):
    cdef Name* entry
    cdef Py_ssize_t size
    for size in range(_NAME_BYTES):
        names.count[size] = 0
    for name, kind in kinds.items():
        size = len(name)
        assert size < _NAME_BYTES and names.count[size] < _NAMES
        entry = &names.of_size[size][names.count[size]]
        memcpy(entry.lower, <const char*>name, size)
        entry.kind = kind
        names.count[size] += 1


cdef _set(Prefix* prefix, bytes lower):
    prefix.size = len(lower)
    assert prefix.size <= _NAME_BYTES * 2
    memcpy(prefix.lower, <const char*>lower, prefix.size)


_set(&_CLAIM, CLAIM_PREFIX)
assert len(PRIVATE_PREFIXES) == len(PRIVATE_TYPES) == _DIALECTS
for _at in range(_DIALECTS):
    _set(&_PRIVATE[_at], PRIVATE_PREFIXES[_at])
    _set(&_PRIVATE_TYPE[_at], PRIVATE_TYPES[_at])
for _name in (*PRIVATE_PREFIXES, *FILES_TO_SEND):
    _set(&_CONTROL[_controls], _name)
    _controls += 1
_fill(&_REQUEST_NAMES, REQUEST_KINDS)
_fill(&_RESPONSE_NAMES, RESPONSE_KINDS)
for _byte in range(256):
    _LOWER[_byte] = 0
for _byte in bytearray(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"):
    _LOWER[_byte] = _byte
for _byte in bytearray(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
    _LOWER[_byte] = _byte + 32


cdef Py_ssize_t name_size(const unsigned char* at, const unsigned char* end) noexcept:
    """How many bytes of `at` are a field name (RFC 9110 section 5.1)."""
    cdef const unsigned char* start = at
    while at < end and _LOWER[at[0]]:
        at += 1
    return at - start


cdef bint is_lower(const unsigned char* text, const char* lower, Py_ssize_t size) noexcept:
    """Whether `text` is `lower` but for the case of its letters."""
    cdef Py_ssize_t i
    for i in range(size):
        if (_LOWER[text[i]] or text[i]) != <unsigned char>lower[i]:
            return False
    return True


cdef bint _begins(const unsigned char* text, Py_ssize_t size, const Prefix* prefix) noexcept:
    return size >= prefix.size and is_lower(text, prefix.lower, prefix.size)


cdef bint _begins_as_any(
    const unsigned char* text, Py_ssize_t size, const Prefix* prefixes
) noexcept:
    """One of each dialect's."""
    cdef int i
    for i in range(_DIALECTS):
        if _begins(text, size, &prefixes[i]):
            return True
    return False


cdef int _known(const Names* names, const unsigned char* name, Py_ssize_t size) noexcept:
    cdef int i
    cdef const Name* entry
    if size < _NAME_BYTES:
        for i in range(names.count[size]):
            entry = &names.of_size[size][i]
            if _LOWER[name[0]] == <unsigned char>entry.lower[0]:
                if is_lower(name, entry.lower, size):
                    return entry.kind
    return PLAIN


cdef int request_kind(const unsigned char* name, Py_ssize_t size) noexcept:
    """As head.pyx has it: its tables, then what it says of the other names."""
    cdef int kind = _known(&_REQUEST_NAMES, name, size)
    if kind != PLAIN:
        return kind
    if memchr(name, b"_", size) != NULL:
        return DROPPED
    if _begins_as_any(name, size, _PRIVATE):
        return DROPPED
    if _begins(name, size, &_CLAIM):
        return CLAIM
    return PLAIN


cdef bint _is_control(const unsigned char* name, Py_ssize_t size) noexcept:
    """As head.pyx has it; but a name that only begins like that of a file is not plain, too."""
    cdef int i
    for i in range(_controls):
        if _LOWER[name[0]] == <unsigned char>_CONTROL[i].lower[0]:
            if size >= _CONTROL[i].size and _is_dashed(name, _CONTROL[i].lower, _CONTROL[i].size):
                return True
    return False


cdef bint _is_dashed(const unsigned char* name, const char* lower, Py_ssize_t size) noexcept:
    """As is_lower, with `_` for `-`."""
    cdef Py_ssize_t i
    cdef unsigned char letter
    for i in range(size):
        letter = _LOWER[name[i]]
        if letter == b"_":
            letter = b"-"
        if letter != <unsigned char>lower[i]:
            return False
    return True


cdef int response_kind(const unsigned char* name, Py_ssize_t size) noexcept:
    cdef int kind = _known(&_RESPONSE_NAMES, name, size)
    return CONTROL if kind == PLAIN and _is_control(name, size) else kind


cdef bint is_private_type(const unsigned char* text, Py_ssize_t size) noexcept:
    """Whether a Content-Type is between backends and us."""
    return _begins_as_any(text, size, _PRIVATE_TYPE)
