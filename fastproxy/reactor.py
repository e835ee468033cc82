"""What all connections of a process share: the loop, one read buffer, one timer."""

import asyncio
from dataclasses import dataclass

from fastproxy.deadlines import Deadlines
from fastproxy.wire.scratch import Scratch


@dataclass(frozen=True, slots=True)
class Reactor:
    """See the module."""

    loop: asyncio.AbstractEventLoop
    scratch: Scratch
    deadlines: Deadlines
