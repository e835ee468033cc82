"""Reads a slab after it went back to the pool: asan.sh wants to see this die."""

import ctypes

from fastproxy.chunker import Chunker, SlabPool

chunker = Chunker(SlabPool(65536), 65536)
window = chunker.get_buffer()
address = ctypes.addressof(ctypes.c_char.from_buffer(window))
del window
chunker.buffer_updated(0)
ctypes.string_at(address, 16)
