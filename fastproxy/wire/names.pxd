cdef Py_ssize_t name_size(const unsigned char* at, const unsigned char* end) noexcept
cdef bint is_lower(const unsigned char* text, const char* lower, Py_ssize_t size) noexcept
cdef int request_kind(const unsigned char* name, Py_ssize_t size) noexcept
cdef int response_kind(const unsigned char* name, Py_ssize_t size) noexcept
cdef bint is_private_type(const unsigned char* text, Py_ssize_t size) noexcept
