"""Plain heads: read in C in one walk, with no object made for any field.

Plain is how most of all heads are written: a common method, HTTP/1.1, `Name: value` with one blank,
nothing that needs thought. Not to be plain is no fault: such a head goes to head.pyx, which judges
it. What is plain here is sound there and says the same (tests/wire/test_plain.py looks for a
difference).

Lines that travel on are not taken apart: a run of them is copied as it came.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memchr, memcmp, memcpy

from fastproxy.wire.head cimport (
    CLAIM, CODING, CONNECTION, CONTENT_TYPE, CONTROL, DATE, DROPPED, FORWARDED_FOR,
    FORWARDED_HOST, FORWARDED_PROTO, HOST, KEEP_ALIVE, LENGTH, PLAIN, REQUEST_ID, UPGRADE,
    is_named_host,
)
from fastproxy.wire.names cimport (
    is_lower, is_private_type, name_size, request_kind, response_kind,
)

cdef enum:
    _MAX_HEAD = 1 << 16


# -- reading -----------------------------------------------------------------------------------


cdef bint _is_text(const unsigned char* at, const unsigned char* end) noexcept:
    """Whether there is no control byte but HTAB (RFC 9110 section 5.5); eight bytes at a time."""
    cdef unsigned long long word, low, delete
    cdef unsigned long long ones = 0x0101010101010101
    cdef unsigned long long tops = 0x8080808080808080
    while end - at >= 8:
        memcpy(&word, at, 8)
        low = (word - ones * 32) & ~word & tops
        delete = ((word ^ ones * 127) - ones) & ~(word ^ ones * 127) & tops
        if low or delete:
            break  # there may be one: look closely
        at += 8
    while at < end:
        if at[0] < 32 and at[0] != 9 or at[0] == 127:
            return False
        at += 1
    return True


cdef struct Line:
    const unsigned char* name
    int name_size
    const unsigned char* value
    int value_size
    const unsigned char* next


cdef bint _read_line(const unsigned char* at, const unsigned char* end, Line* line) noexcept:
    """`Name: value` and CRLF, with just one blank and a value without blanks around it."""
    cdef const unsigned char* cr
    line.name = at
    line.name_size = <int>name_size(at, end)
    at += line.name_size
    if not line.name_size or end - at < 5 or at[0] != b":" or at[1] != b" ":
        return False
    at += 2
    cr = <const unsigned char*>memchr(at, 13, end - at)
    if cr == NULL or end - cr < 2 or cr[1] != 10 or cr == at:
        return False
    line.value = at
    line.value_size = <int>(cr - at)
    line.next = cr + 2
    return at[0] > 32 and cr[-1] > 32 and _is_text(at, cr)


cdef bint _add_run(Run* run, int* count, int limit, int at, int size) noexcept:
    """One more line; behind the last one it makes that run longer."""
    if count[0] and run[count[0] - 1].at + run[count[0] - 1].size == at:
        run[count[0] - 1].size += size
        return True
    if count[0] == limit:
        return False
    run[count[0]].at = at
    run[count[0]].size = size
    count[0] += 1
    return True


cdef bint _once(Run* run, int at, int size) noexcept:
    """Take a value that may come once."""
    if run.size:
        return False
    run.at = at
    run.size = size
    return True


cdef bint _take_length(PlainHead* head, const Line* line) noexcept:
    cdef int i
    cdef long long length = 0
    if head.length >= 0 or line.value_size > 18:
        return False
    for i in range(line.value_size):
        if not b"0" <= line.value[i] <= b"9":
            return False
        length = length * 10 + line.value[i] - 48
    head.length = length
    return True


cdef bint _is_keep_alive(const Line* line) noexcept:
    return line.value_size == 10 and is_lower(line.value, b"keep-alive", 10)


cdef bint _take_request_field(PlainHead* head, const Line* line, int at) noexcept:
    """One field; False when this is not plain."""
    cdef int kind = request_kind(line.name, line.name_size)
    cdef int size = line.name_size + line.value_size + 4
    cdef int value = at + line.name_size + 2
    if kind == PLAIN:
        return _add_run(head.run, &head.runs, MAX_RUNS, at, size)
    if kind == HOST:
        if not is_named_host(line.value, line.value_size):
            return False
        return _once(&head.host, value, line.value_size)
    if kind == LENGTH:
        return _take_length(head, line)
    if kind == CONNECTION:
        return _is_keep_alive(line)
    if kind == CLAIM:
        return _add_run(head.claim, &head.claims, MAX_CLAIMS, at, size)
    if kind == FORWARDED_FOR:
        return _once(&head.forwarded_for, value, line.value_size)
    if kind == FORWARDED_PROTO:
        return _once(&head.forwarded_proto, value, line.value_size)
    if kind == FORWARDED_HOST:
        return _once(&head.forwarded_host, value, line.value_size)
    if kind == REQUEST_ID:
        return _once(&head.request_id, value, line.value_size)
    return kind == DROPPED


cdef bint _take_response_field(PlainHead* head, const Line* line, int at) noexcept:
    """One field; False when this is not plain."""
    cdef int kind = response_kind(line.name, line.name_size)
    if kind == LENGTH:
        return _take_length(head, line)
    if kind == CONNECTION:
        return _is_keep_alive(line)
    if kind == KEEP_ALIVE:
        return _take_keep_alive(head, line)
    if kind == CODING or kind == UPGRADE or kind == CONTROL:
        return False
    if kind == DROPPED:
        return True
    if kind == DATE:
        head.is_dated = True
    elif kind == CONTENT_TYPE and is_private_type(line.value, line.value_size):
        return False
    return _add_run(
        head.run, &head.runs, MAX_RUNS, at, line.name_size + line.value_size + 4
    )


cdef bint _take_keep_alive(PlainHead* head, const Line* line) noexcept:
    """`timeout=N`, as servers write it; anything else is looked at by head.pyx."""
    cdef int i
    cdef int seconds = 0
    if head.keep_alive_s >= 0 or not 9 <= line.value_size <= 13:
        return False
    if not is_lower(line.value, b"timeout=", 8):
        return False
    for i in range(8, line.value_size):
        if not b"0" <= line.value[i] <= b"9":
            return False
        seconds = seconds * 10 + line.value[i] - 48
    head.keep_alive_s = seconds
    return True


cdef int _method_size(const unsigned char* data, Py_ssize_t size) noexcept:
    """Of the methods nearly everybody uses; 0 for others."""
    if size < 16:  # "GET / HTTP/1.1" and CRLF
        return 0
    if not memcmp(data, b"GET ", 4) or not memcmp(data, b"PUT ", 4):
        return 3
    if not memcmp(data, b"POST ", 5) or not memcmp(data, b"HEAD ", 5):
        return 4
    if not memcmp(data, b"PATCH ", 6):
        return 5
    if not memcmp(data, b"DELETE ", 7):
        return 6
    if not memcmp(data, b"OPTIONS ", 8):
        return 7
    return 0


cdef void _clear(PlainHead* head) noexcept:
    head.count = head.runs = head.claims = head.path = head.keep_alive_s = 0
    head.host.size = head.forwarded_for.size = head.forwarded_proto.size = 0
    head.forwarded_host.size = head.request_id.size = 0
    head.is_dated = False
    head.length = head.keep_alive_s = -1


cdef bint _scan_request_line(
    const unsigned char* data, Py_ssize_t size, PlainHead* head
) noexcept:
    cdef const unsigned char* at = data
    cdef const unsigned char* end = data + size
    cdef const unsigned char* target
    head.method = _method_size(data, size)
    if not head.method:
        return False
    at += head.method + 1
    target = at
    if at[0] != b"/":
        return False
    while at < end and 33 <= at[0] <= 126 and at[0] != b"#":
        if at[0] == b"?" and not head.path:
            head.path = <int>(at - target)
        at += 1
    head.target = <int>(at - target)
    if not head.path:
        head.path = head.target
    if end - at < 11 or memcmp(at, b" HTTP/1.1\r\n", 11):
        return False
    head.first_line = <int>(at - data) + 11
    return True


cdef bint scan_request(const unsigned char* data, Py_ssize_t size, PlainHead* head) noexcept:
    """Whether `data` begins with a whole plain request head; then `head` says what is in it."""
    cdef Line line
    cdef const unsigned char* at
    cdef const unsigned char* end
    _clear(head)
    if size > _MAX_HEAD:
        size = _MAX_HEAD
    if not _scan_request_line(data, size, head):
        return False
    at = data + head.first_line
    end = data + size
    while end - at >= 2 and not (at[0] == 13 and at[1] == 10):
        if not _read_line(at, end, &line):
            return False
        if not _take_request_field(head, &line, <int>(at - data)):
            return False
        head.count += 1
        at = line.next
    if end - at < 2 or not head.host.size:
        return False
    head.size = <int>(at - data) + 2
    return True


cdef bint _scan_status_line(
    const unsigned char* data, Py_ssize_t size, PlainHead* head
) noexcept:
    """"HTTP/1.1 200 Reason"; a missing reason would be written anew, so it is not plain."""
    cdef const unsigned char* cr
    cdef int i
    if size < 16 or memcmp(data, b"HTTP/1.1 ", 9) or data[12] != b" ":
        return False
    head.status = 0
    for i in range(9, 12):
        if not b"0" <= data[i] <= b"9":
            return False
        head.status = head.status * 10 + data[i] - 48
    if not 200 <= head.status <= 599:
        return False
    cr = <const unsigned char*>memchr(data, 13, size)
    if cr == NULL or data + size - cr < 2 or cr[1] != 10 or cr - data < 14:
        return False
    if data[13] <= 32 or cr[-1] <= 32 or not _is_text(data + 13, cr):
        return False
    head.first_line = <int>(cr - data) + 2
    return True


cdef bint scan_response(const unsigned char* data, Py_ssize_t size, PlainHead* head) noexcept:
    """Whether `data` begins with a whole plain response head, not an interim one."""
    cdef Line line
    cdef const unsigned char* at
    cdef const unsigned char* end
    _clear(head)
    if size > _MAX_HEAD:
        size = _MAX_HEAD
    if not _scan_status_line(data, size, head):
        return False
    at = data + head.first_line
    end = data + size
    while end - at >= 2 and not (at[0] == 13 and at[1] == 10):
        if not _read_line(at, end, &line):
            return False
        if not _take_response_field(head, &line, <int>(at - data)):
            return False
        head.count += 1
        at = line.next
    if end - at < 2:
        return False
    head.size = <int>(at - data) + 2
    return True


# -- writing -----------------------------------------------------------------------------------


cdef char* put(char* at, const void* text, Py_ssize_t size) noexcept:
    """Copy `size` bytes to `at`; where the next go."""
    memcpy(at, text, size)
    return at + size


cdef char* put_bytes(char* at, bytes text) noexcept:
    return put(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef char* put_text(char* at, str text) except NULL:
    cdef Py_ssize_t size = 0
    cdef const char* utf8 = PyUnicode_AsUTF8AndSize(text, &size)
    return put(at, utf8, size)


cdef char* put_number(char* at, long long number) noexcept:
    """A number of 0 or more in decimal, at most 19 digits."""
    cdef char digits[20]
    cdef int i = 20
    while True:
        i -= 1
        digits[i] = <char>(48 + number % 10)
        number //= 10
        if not number:
            break
    return put(at, digits + i, 20 - i)


cdef char* put_runs(char* at, const unsigned char* data, const Run* run, int count) noexcept:
    """The lines of `run`, out of `data`."""
    cdef int i
    for i in range(count):
        at = put(at, data + run[i].at, run[i].size)
    return at


cdef Py_ssize_t runs_size(const Run* run, int count) noexcept:
    """How many bytes `put_runs` writes."""
    cdef Py_ssize_t size = 0
    cdef int i
    for i in range(count):
        size += run[i].size
    return size
