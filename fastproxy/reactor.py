"""What all connections of a process share: loop, read buffer, timer, and a set of sockets."""

import asyncio
from dataclasses import dataclass, field

from fastproxy.deadlines import Deadlines
from fastproxy.readiness import Readiness
from fastproxy.wire.scratch import Scratch


@dataclass(frozen=True, slots=True)
class Reactor:
    """See the module."""

    loop: asyncio.AbstractEventLoop
    scratch: Scratch
    deadlines: Deadlines
    readiness: Readiness = field(default_factory=Readiness)
