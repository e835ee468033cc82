cpdef int unread(int fd) noexcept
cpdef int unacknowledged(int fd) noexcept
