"""Which orders out of a repository are known by which kinds, in the words of either dialect."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastproxy.git.gitlab_orders import GitlabArchive, GitlabBlob, GitlabDiff, GitlabSnapshot
from fastproxy.git.orders import Archive, Blob, Difference, Snapshot
from fastproxy.handlers.git.kit import GitRoom
from fastproxy.protocol import GITLAB, Dialect
from fastproxy.senders.contract import Delivery, Sender
from fastproxy.senders.git.archive import ArchiveSender
from fastproxy.senders.git.contents import send_blob, send_diff, send_patch, send_snapshot

T = TypeVar("T")
Send = Callable[[GitRoom, Delivery, T], Awaitable[None]]


def make_git_senders(room: GitRoom, dialect: Dialect) -> dict[str, Sender]:
    """By the kind of the orders."""
    archive = ArchiveSender(room)
    if dialect is GITLAB:
        return {
            "git-blob": _translated(room, GitlabBlob, send_blob),
            "git-diff": _translated(room, GitlabDiff, send_diff),
            "git-format-patch": _translated(room, GitlabDiff, send_patch),
            "git-snapshot": _translated(room, GitlabSnapshot, send_snapshot),
            "git-archive": _translated(room, GitlabArchive, archive.send),
        }
    return {
        "git-blob": _parsed(room, Blob, send_blob),
        "git-diff": _parsed(room, Difference, send_diff),
        "git-patch": _parsed(room, Difference, send_patch),
        "git-snapshot": _parsed(room, Snapshot, send_snapshot),
        "git-archive": _parsed(room, Archive, archive.send),
    }


def _parsed(room: GitRoom, kind: type[T], send: Send[T]) -> Sender:
    async def sender(delivery: Delivery) -> None:
        await _sent(room, send(room, delivery, delivery.parse(kind)))

    return sender


def _translated(room: GitRoom, kind: type[Any], send: Send[Any]) -> Sender:
    async def sender(delivery: Delivery) -> None:
        await _sent(room, send(room, delivery, delivery.parse(kind).order()))

    return sender


async def _sent(room: GitRoom, sending: Awaitable[None]) -> None:
    async with room.operation("send"):
        await sending
