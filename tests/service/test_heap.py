"""Threads share one heap."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, threading
from fastproxy.service.heap import use_one_heap

if {wanted}:
    use_one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
together = threading.Barrier(4)

def use():
    together.wait()
    for _ in range(100):
        libc.malloc(10_000)
    together.wait()

threads = [threading.Thread(target=use) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.malloc_info(0, libc.fopen(b"/dev/stdout", b"w"))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heaps of glibc")
@pytest.mark.parametrize("wanted", [True, False])
def test_threads_have_one_heap_if_so_wished(wanted: bool) -> None:
    program = PROGRAM.format(wanted=wanted)
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    heaps = told.stdout.count(b"<heap nr=")
    assert heaps == 1 if wanted else heaps > 1
