cpdef bytes skip_blank_lines(bytes raw)
cpdef tuple split_head(bytes raw, limits)
