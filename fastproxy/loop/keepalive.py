"""TCP keep-alive: a peer that vanished without a word is noticed on connections that are silent.

Paused uploads and tunnels send nothing for as long as they like. After two minutes without a sign
of life the kernel reports such a connection as lost (tcp(7)).
"""

import socket
from typing import Final, Protocol

_IDLE_S: Final = 60
_INTERVAL_S: Final = 15
_PROBES: Final = 4


class Socket(Protocol):
    """A socket, or what a transport shows of one."""

    @property
    def family(self) -> int:
        """The address family."""
        ...

    def setsockopt(self, level: int, name: int, value: int, /) -> None:
        """See socket."""
        ...


def watch_peer(sock: Socket) -> None:
    """Switch keep-alive on; connections accepted from a listener inherit it. Not TCP: nothing."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
