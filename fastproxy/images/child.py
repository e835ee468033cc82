"""The process that scales images: one after another, from standard input to standard output.

A line of JSON and the bytes it announces, both ways. It ends when its input does, so it never
outlives the worker. What it may take is limited by the kernel: memory, and what it may write.
"""

import resource
import sys
from typing import BinaryIO, Final

import msgspec

MAX_LINE: Final = 4096


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """What is wanted. `length`: bytes that follow."""

    length: int
    content_type: str
    width: int
    max_pixels: int


class Done(msgspec.Struct, omit_defaults=True):
    """What came of it. `length`: bytes that follow; `refused`: why there are none."""

    length: int = 0
    refused: str = ""


def confine(memory: int) -> None:
    """No more than `memory` bytes of address space; nothing is written to files."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))


def serve(orders: BinaryIO, answers: BinaryIO) -> None:
    """Until there are no more orders."""
    from fastproxy.images.scale import Refused, scale  # not in the worker, which imports us, too

    while line := orders.readline(MAX_LINE):
        order = msgspec.json.decode(line, type=Order)
        data = orders.read(order.length)
        try:
            made = scale(data, order.content_type, order.width, order.max_pixels)
        except Refused as refused:
            done, made = Done(refused=str(refused)[: MAX_LINE // 8]), b""
        else:
            done = Done(len(made))
        answers.write(msgspec.json.encode(done) + b"\n" + made)
        answers.flush()


def main() -> None:
    """`python -m fastproxy.images.child MEMORY`."""
    from PIL import Image

    Image.init()  # the formats: loaded before memory is limited
    confine(int(sys.argv[1]))
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
