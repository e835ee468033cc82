"""What the kernel knows of a stream socket's bytes that no transport tells; a system call each."""

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, int* value)

cdef extern from "<linux/sockios.h>" nogil:
    unsigned long SIOCINQ, SIOCOUTQ


cpdef int unread(int fd) noexcept:
    """Bytes that have come and were not read; 0 for what is no socket."""
    cdef int size = 0
    ioctl(fd, SIOCINQ, &size)
    return size


cpdef int unacknowledged(int fd) noexcept:
    """Bytes sent that the peer's kernel has not acknowledged (RFC 9293 section 3.4); 0 if unknown.

    Of a unix socket, memory of what the peer has not read, which is more than its bytes.
    """
    cdef int size = 0
    ioctl(fd, SIOCOUTQ, &size)
    return size
