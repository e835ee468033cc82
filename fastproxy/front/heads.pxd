cpdef bytes skip_blank_lines(bytes raw)
cpdef tuple split_head(bytes raw, limits)
cpdef bint is_news(bytes raw, Py_ssize_t size, limits) except -1
