"""Listening sockets. The master owns them; workers share them, so no reload closes an accept queue.

Addresses are "HOST:PORT", "[::1]:PORT" or "unix:/path".
"""

import contextlib
import os
import socket
import stat
from collections.abc import Iterable, Sequence

from fastproxy.loop.keepalive import watch_peer

UNIX = "unix:"

_UNIX_UMASK = 0o117  # sockets are 0660: the group is for those who may connect
_SYSTEMD_FIRST_FD = 3  # sd_listen_fds(3)
_PROBE_SECONDS = 1.0


class CannotListen(OSError):
    """An address cannot be bound; says which and why."""

    def __init__(self, address: str, reason: object) -> None:
        super().__init__(f"cannot listen on {address}: {reason}")


class Listeners:
    """Sockets by address. `inherited` are already bound by somebody else (socket activation)."""

    def __init__(self, inherited: Iterable[socket.socket] = ()) -> None:
        self._inherited = list(inherited)
        self._open: dict[str, socket.socket] = {}
        self._ours: dict[str, tuple[int, int]] = {}  # unix sockets we made: device and inode

    def open(self, addresses: Iterable[str], backlog: int) -> None:
        """Listen on all addresses or, when CannotListen is raised, on no new one."""
        before = set(self._open)
        try:
            for address in addresses:
                self._open_one(address, backlog)
        except CannotListen:
            self.keep(before)
            raise

    def keep(self, addresses: Iterable[str]) -> None:
        """Close all others."""
        for address in self._open.keys() - set(addresses):
            self._open.pop(address).close()
            self._unlink(address)

    def sockets(self, addresses: Iterable[str]) -> tuple[socket.socket, ...]:
        """The open sockets of these addresses."""
        return tuple(self._open[address] for address in addresses)

    def close_in_child(self, but: Iterable[str] = ()) -> None:
        """Let go of the sockets a forked child has no business with; nothing is unlinked."""
        for address in self._open.keys() - set(but):
            self._open.pop(address).close()
        for sock in self._inherited:
            sock.close()

    def _open_one(self, address: str, backlog: int) -> None:
        try:
            sock = self._open.get(address) or self._adopt(address) or self._bind(address)
            sock.listen(backlog)
        except (OSError, ValueError) as error:
            raise CannotListen(address, error) from error

    def _adopt(self, address: str) -> socket.socket | None:
        family, name = resolve(address)
        for sock in self._inherited:
            if sock.family == family and _same_name(sock.getsockname(), name):
                self._inherited.remove(sock)
                return self._register(address, sock)
        return None

    def _bind(self, address: str) -> socket.socket:
        family, name = resolve(address)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            if family == socket.AF_UNIX:
                self._bind_unix(sock, address, str(name))
            else:
                _bind_tcp(sock, name)
        except OSError:
            sock.close()
            raise
        return self._register(address, sock)

    def _bind_unix(self, sock: socket.socket, address: str, path: str) -> None:
        remove_stale(path)
        umask = os.umask(_UNIX_UMASK)
        try:
            sock.bind(path)
        finally:
            os.umask(umask)
        made = os.lstat(path)
        self._ours[address] = made.st_dev, made.st_ino

    def _register(self, address: str, sock: socket.socket) -> socket.socket:
        sock.setblocking(False)
        watch_peer(sock)
        self._open[address] = sock
        return sock

    def _unlink(self, address: str) -> None:
        """Remove our socket file, unless somebody has put another in its place."""
        identity = self._ours.pop(address, None)
        path = address.removeprefix(UNIX)
        with contextlib.suppress(OSError):
            found = os.lstat(path)
            if identity == (found.st_dev, found.st_ino):
                os.unlink(path)


def _bind_tcp(sock: socket.socket, name: object) -> None:
    # Not SO_REUSEPORT: each such socket has its own accept queue, lost when it closes.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(name)  # type: ignore[arg-type]  # as getaddrinfo gave it


def resolve(address: str) -> tuple[socket.AddressFamily, object]:
    """The family of an address and the name to bind. Raises ValueError, OSError."""
    if address.startswith(UNIX):
        return socket.AF_UNIX, address.removeprefix(UNIX)
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal():
        raise ValueError('expected "HOST:PORT", "[::1]:PORT" or "unix:/path"')
    host = host.removeprefix("[").removesuffix("]")
    found = socket.getaddrinfo(
        host or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return found[0][0], found[0][4]


def _same_name(bound: object, wanted: object) -> bool:
    if isinstance(bound, tuple) and isinstance(wanted, tuple):
        return bound[:2] == wanted[:2]  # IPv6 names have a flow and a scope, too
    return bound == wanted


def remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on. Raises OSError when it is alive or no socket."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError("there is a file that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise FileExistsError("another process listens there")


def inherited_sockets() -> Sequence[socket.socket]:
    """Sockets of systemd's socket activation (sd_listen_fds(3)), taken once."""
    mine = os.environ.pop("LISTEN_PID", "") == str(os.getpid())
    count = os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not mine or not count.isdecimal():
        return ()
    sockets = [socket.socket(fileno=_SYSTEMD_FIRST_FD + i) for i in range(int(count))]
    for sock in sockets:
        sock.set_inheritable(False)
    return sockets
