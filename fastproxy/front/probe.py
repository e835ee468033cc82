"""Whether a peer we do not read from is still there.

A paused socket hears no EOF and no reset. Linux tells the connection's state in TCP_INFO without
reading a byte, so what lies unread in the kernel stays there.
"""

import asyncio
import socket
from enum import Enum
from typing import Final

_ESTABLISHED: Final = 1
_CLOSE_WAIT: Final = 8


class PeerState(Enum):
    """What the kernel knows of the peer."""

    THERE = "there"
    HALF_CLOSED = "half-closed"  # it has sent all it had and closed its side: its bytes count
    GONE = "gone"
    UNKNOWN = "unknown"  # not TCP


_BY_TCP_STATE: Final = {_ESTABLISHED: PeerState.THERE, _CLOSE_WAIT: PeerState.HALF_CLOSED}


def peer_state(transport: asyncio.BaseTransport | None) -> PeerState:
    """The state of the peer of `transport`, without reading from it."""
    if transport is None or transport.is_closing():
        return PeerState.GONE
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return PeerState.UNKNOWN
    try:
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return PeerState.GONE
    return _BY_TCP_STATE.get(state, PeerState.GONE)
