"""GitLab's terminals before Kubernetes' channels, with real WebSocket clients and servers."""

import base64
import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.server import ServerConnection

from tests.flow.channel_site import Site, configuration, dial, running
from tests.flow.test_channels import closed, refused
from tests.support.harness import Proxy, proxy
from tests.support.waiting import eventually

TERMINALS = ["terminal.gitlab.com", "base64.terminal.gitlab.com"]
WORDS = [*TERMINALS, "channel.k8s.io", "base64.channel.k8s.io"]


def told(word: str, raw: bytes, stream: int) -> str | bytes:
    """The message that says `raw` in this subprotocol."""
    is_text, is_channel = word.startswith("base64."), word.endswith("channel.k8s.io")
    if is_text:
        return (str(stream) if is_channel else "") + base64.b64encode(raw).decode()
    return (bytes([stream]) if is_channel else b"") + raw


class Shell(Site):
    """Says back what is typed, in pieces and on two streams; keeps all that was typed."""

    def __init__(self, word: str) -> None:
        super().__init__(handler=self.run)
        self.word = word
        self.typed: list[bytes] = []

    def run(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            for message in connection:
                raw = self.heard(message)
                self.typed.append(raw)
                if raw == b"garbage":
                    connection.send("no base64!" if self.word.startswith("base64.") else b"")
                elif raw == b"large":
                    connection.send(told(self.word, bytes(2 << 20), 1))
                elif raw != b"\x04":
                    connection.ping(b"between").wait(20)
                    said = told(self.word, raw, 1)
                    # As one message of several frames, the first of which is empty.
                    connection.send([said[:0], said[:1], said[1:3], said[3:]])
                    connection.send(told(self.word, b"$ ", 2))

    def heard(self, message: str | bytes) -> bytes:
        rest = message[1:] if self.word.endswith("channel.k8s.io") else message
        raw = base64.b64decode(rest) if isinstance(rest, str) else rest
        assert told(self.word, raw, 0) == message
        return raw


@contextmanager
def town(home: Path, word: str) -> Iterator[tuple[Shell, Proxy]]:
    """A fake Rails that permits a shell elsewhere, which speaks `word` only."""
    rails, shell = Site(kind="application/vnd.gitlab-workhorse+json"), Shell(word)
    with running(shell, subprotocols=[word]), running(rails):
        url = f"ws://127.0.0.1:{shell.port}/exec"
        rails.permission = {"Channel": {"Subprotocols": [word], "Url": url, "MaxSessionTime": 0}}
        allowed = f'allowed_hosts = ["127.0.0.1:{shell.port}"]'
        with proxy(configuration(rails, home / "secret", allowed, 'dialect = "gitlab"')) as front:
            yield shell, front


def types(client: ClientConnection, word: str, raw: bytes) -> None:
    client.send(told(word, raw, 0))
    assert client.recv(timeout=20) == told(word, raw, 1)
    assert client.recv(timeout=20) == told(word, b"$ ", 2)


@pytest.mark.parametrize("inner", WORDS)
@pytest.mark.parametrize("outer", TERMINALS)
def test_each_terminal_speaks_with_each_shell(tmp_path: Path, outer: str, inner: str) -> None:
    with town(tmp_path, inner) as (shell, front):
        with dial(front.port, subprotocols=["other", outer]) as client:  # type: ignore[list-item]
            assert client.subprotocol == outer
            sent = [b"ls\n", b"", b"\0\xff\x04", os.urandom(125), os.urandom(70_000), b"x" * 3]
            for raw in sent:
                types(client, outer, raw)
            parts = told(outer, b"in parts", 0)
            client.send([parts[:2], parts[:0], parts[2:]])
            assert client.recv(timeout=20) == told(outer, b"in parts", 1)
            assert client.recv(timeout=20) == told(outer, b"$ ", 2)
            assert client.ping(b"x").wait(20)
            client.close(4000, "enough")
        eventually(lambda: shell.closed, "the shell knows")
        assert shell.closed == [(4000, "enough")]
        end = [] if outer == inner else [b"\x04"]
        assert shell.typed == [*sent, b"in parts", *end]
        if outer != inner:
            assert "Sec-WebSocket-Extensions" not in shell.opened[0].headers


@pytest.mark.parametrize("inner", WORDS[2:])
def test_what_runs_there_is_told_that_a_client_has_vanished(tmp_path: Path, inner: str) -> None:
    with town(tmp_path, inner) as (shell, front):
        with dial(front.port, subprotocols=TERMINALS[:1]) as client:  # type: ignore[arg-type]
            types(client, TERMINALS[0], b"ls")
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.socket.shutdown(socket.SHUT_RD)
            client.socket.close()
        eventually(lambda: shell.closed, "the shell knows")
        assert shell.typed == [b"ls", b"\x04"]


@pytest.mark.parametrize(
    ("outer", "inner", "by"),
    [
        ("terminal.gitlab.com", "base64.channel.k8s.io", b"garbage"),
        ("terminal.gitlab.com", "channel.k8s.io", b"large"),
        ("base64.terminal.gitlab.com", "channel.k8s.io", "no base64!"),
    ],
)
def test_what_cannot_be_translated_ends_it(
    tmp_path: Path, outer: str, inner: str, by: str | bytes
) -> None:
    with town(tmp_path, inner) as (shell, front):
        with dial(front.port, subprotocols=[outer]) as client:  # type: ignore[list-item]
            client.send(by)
            assert closed(client) == (1007, "a message could not be translated")
        eventually(lambda: shell.closed, "the shell knows")
        assert shell.closed[0][0] == 1007
        eventually(lambda: "channel closed" in front.said(), "the log says why")
        assert front.metric('fastproxy_channels_total{end="garbled"}') == 1


def test_only_gitlabs_terminals_are_translated(tmp_path: Path) -> None:
    with town(tmp_path, "channel.k8s.io") as (shell, front):
        assert refused(front.port, subprotocols=["v4.channel.k8s.io"]).response.status_code == 400
        shell.word = "nothing of the kind"
    with town(tmp_path, "nothing") as (_, front):
        assert refused(front.port, subprotocols=TERMINALS).response.status_code == 400
