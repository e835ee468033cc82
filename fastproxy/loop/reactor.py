"""What all connections of a process share: loop, read buffer, timer, and a set of sockets."""

import asyncio

from msgspec import Struct, field

from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.readiness import Readiness
from fastproxy.wire.scratch import Scratch


class Reactor(Struct, frozen=True):
    """See the module."""

    loop: asyncio.AbstractEventLoop
    scratch: Scratch
    deadlines: Deadlines
    readiness: Readiness = field(default_factory=Readiness)
