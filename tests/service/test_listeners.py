import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fastproxy.service.listeners import CannotListen, Listeners, resolve


def leave_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    leave_stale(path)
    listeners = Listeners()
    listeners.open([f"unix:{path}"], 8)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listeners.keep(())
    assert not path.exists()


def test_a_live_unix_socket_is_not_taken_away(tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 's'}"
    first, second = Listeners(), Listeners()
    first.open([address], 8)
    with pytest.raises(CannotListen, match="another process listens there"):
        second.open([address], 8)
    second.keep(())
    assert (tmp_path / "s").exists()
    first.keep(())


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(CannotListen, match="not a socket"):
        Listeners().open([f"unix:{path}"], 8)
    assert path.read_text() == "data"


def test_a_socket_that_somebody_else_has_put_there_is_not_unlinked(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listeners = Listeners()
    listeners.open([f"unix:{path}"], 8)
    path.unlink()
    leave_stale(path)
    listeners.keep(())
    assert path.exists()


def test_unix_sockets_are_for_owner_and_group(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listeners = Listeners()
    listeners.open([f"unix:{path}"], 8)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    listeners.keep(())


def test_all_or_none_are_opened(tmp_path: Path) -> None:
    good, kept = f"unix:{tmp_path / 'good'}", f"unix:{tmp_path / 'kept'}"
    listeners = Listeners()
    listeners.open([kept], 8)
    with pytest.raises(CannotListen, match="nowhere"):
        listeners.open([kept, good, "unix:/nowhere/at/all"], 8)
    assert not (tmp_path / "good").exists()
    assert len(listeners.sockets([kept])) == 1
    listeners.keep(())


def test_what_is_open_stays_the_same_socket(tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 's'}"
    listeners = Listeners()
    listeners.open([address], 8)
    before = listeners.sockets([address])
    listeners.open([address], 16)
    assert listeners.sockets([address]) == before
    assert before[0].getblocking() is False
    listeners.keep(())


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
def test_tcp_addresses(address: str) -> None:
    listeners = Listeners()
    listeners.open([address], 8)
    (sock,) = listeners.sockets([address])
    with socket.create_connection(sock.getsockname()[:2]):
        pass
    listeners.keep(())


@pytest.mark.parametrize("address", ["8080", "host", "host:http", ""])
def test_what_is_no_address_is_said_to_be_none(address: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        resolve(address)


def test_an_address_in_use_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(CannotListen, match=address):
            Listeners().open([address], 8)


ACTIVATED = """
import os, socket, sys
from fastproxy.service.listeners import Listeners, inherited_sockets
os.environ["LISTEN_PID"] = str(os.getpid())
sockets = inherited_sockets()
assert "LISTEN_FDS" not in os.environ
listeners = Listeners(sockets)
listeners.open(sys.argv[1:], 8)
print([sock.fileno() for sock in listeners.sockets(sys.argv[1:])])
"""


def test_sockets_of_systemd_are_used_for_their_addresses(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s"))
        addresses = [f"unix:{tmp_path / 's'}", f"127.0.0.1:{tcp.getsockname()[1]}"]
        keep = (tcp.fileno(), unix.fileno())
        shell = f'exec 3<&{keep[0]} 4<&{keep[1]}; exec "$0" -c "$@"'
        done = subprocess.run(
            ["bash", "-c", shell, sys.executable, ACTIVATED, *addresses],
            pass_fds=keep,
            env={**os.environ, "LISTEN_FDS": "2"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip() == "[4, 3]", done.stderr
        assert (tmp_path / "s").exists()
