"""Keep-alive is on where a peer may vanish, and nowhere else."""

import socket
from pathlib import Path

from fastproxy.loop.keepalive import watch_peer
from tests.support.harness import proxy, to_backend
from tests.support.origin import origin


def test_accepted_connections_inherit_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        watch_peer(server)
        with socket.create_connection(server.getsockname()):
            accepted, _ = server.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


def test_a_unix_socket_is_left_alone() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        watch_peer(sock)
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_both_sides_of_the_proxy_have_it() -> None:
    """Seen from outside: the kernel runs a keep-alive timer (02 in /proc/net/tcp) for both."""
    with origin() as backend, proxy(to_backend(backend.address)) as front, front.client() as client:
        assert client.get().status == 200
        timers = {}
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            local, peer = (int(name.split(":")[1], 16) for name in fields[1:3])
            timers[local, peer] = fields[5].split(":")[0]
        mine = client.sock.getsockname()[1]
        assert timers[front.port, mine] == "02"
        theirs = backend.peers[0].sock
        ours_port, origin_port = theirs.getpeername()[1], theirs.getsockname()[1]
        assert timers[ours_port, origin_port] == "02"
