"""One file of a form on its way into the store.

Until a part of it is complete there is nothing to do but to take bytes, and no task for it.
"""

import asyncio
import logging
import secrets
import time
from enum import Enum
from typing import Protocol

from fastproxy.errors import (
    BadAuthorizeAnswer,
    BodyTooLarge,
    Bug,
    FastproxyError,
    FormTooLarge,
    ShuttingDown,
)
from fastproxy.handlers.uploads.kit import UploadKit
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.protocol import MAX_KEY
from fastproxy.storage.contract import Stored
from fastproxy.uploads.answer import Permission
from fastproxy.uploads.digests import Digests
from fastproxy.uploads.form import StoredFile
from fastproxy.uploads.scrub import Inlet
from fastproxy.uploads.transfer import Transfer
from fastproxy.wire.part_head import PartHead

log = logging.getLogger("fastproxy.upload")


class Step(Enum):
    """How far a file is."""

    RECEIVING = "receiving"
    STORING = "storing"
    OVER = "over"  # taken back, or the backend's


class FormOwner(Protocol):
    """The form, as one of its files sees it."""

    def pause(self) -> None:
        """The file takes no bytes now."""

    def resume(self) -> None:
        """It takes bytes again."""

    def settled(self, fault: FastproxyError | None) -> None:
        """The file is stored, or failed with `fault`."""

    @property
    def seconds_left(self) -> float:
        """How long storing may still take."""


class FileUpload:
    """Signals of its buffer. `number` counts the files of the form, from 1."""

    __slots__ = ("_begun_at", "_error", "_has_turn", "_inlet", "_kit", "_owner", "_permission",
                 "_step", "_task", "_transfer", "buffer", "head", "most", "store",
                 "stored")  # fmt: skip

    def __init__(
        self,
        kit: UploadKit,
        owner: FormOwner,
        permission: Permission,
        head: PartHead,
        number: int,
    ) -> None:
        """Raises MemoryShort, BadAuthorizeAnswer, OwnFault."""
        self._kit = kit
        self._owner = owner
        self._permission = permission
        self._begun_at = time.monotonic()
        self._has_turn = False
        self._error: FastproxyError | None = None
        self._step = Step.RECEIVING
        self._task: asyncio.Task[None] | None = None
        self.head = head
        self.stored: Stored | None = None
        self.store = kit.store_for(permission)
        self.most = 0
        key = _key_of(permission, number)
        self.buffer = self._open()
        self._inlet: Inlet = kit.inlet(self.buffer, owner.settled)
        self._transfer = self._make_transfer(key)
        kit.metrics.started.add()
        if permission.presigned is not None and permission.presigned.part_urls:
            self._start()
        else:
            self.buffer.tell_when_ready()

    def _open(self) -> UploadBuffer:
        """As for a body of unknown length: what is sure is only the length of the form."""
        kit, needs = self._kit, self.store.needs
        parts, self.most = kit.plan(self._permission, needs, None)
        buffer = kit.arena.open(needs, parts, self, most=self.most)
        buffer.spare = parts.spare
        return buffer

    def _make_transfer(self, key: str) -> Transfer:
        route, permission = self._kit.route, self._permission
        return Transfer(
            self.store,
            key,
            self.buffer,
            Digests((*route.hashes, *permission.hashes, *permission.expected)),
            self.head.content_type,
            None,
            route.part_concurrency,
            permission.expected,
            permission.size,
        )

    # -- bytes ---------------------------------------------------------------------------------

    def feed(self, data: memoryview) -> int:
        """Take bytes; how many, fewer when memory is short. Raises BodyTooLarge."""
        if self.buffer.total + len(data) > self.most:
            raise BodyTooLarge(f"a file has more than {self.most} bytes")
        return self._inlet.feed(data)

    def finish(self) -> None:
        """All of it came."""
        self.buffer.finish()

    # -- Signals -------------------------------------------------------------------------------

    def on_pause(self) -> None:
        """See Signals."""
        self._owner.pause()

    def on_resume(self) -> None:
        """See Signals."""
        self._owner.resume()

    def on_ready(self) -> None:
        """See Signals. A file that is whole waits for its turn; one that goes on would keep it."""
        if self._step is Step.RECEIVING and self.buffer.is_finished:
            self._kit.storing.acquire(self._start_in_turn)
        elif self._step is Step.RECEIVING:
            self._start()

    def _start_in_turn(self) -> bool:
        if self._step is not Step.RECEIVING:
            return False
        self._has_turn = True
        self._start()
        return True

    # -- storing -------------------------------------------------------------------------------

    def _start(self) -> None:
        self._step = Step.STORING
        self._task = self._kit.tasks.start(self._guarded())

    async def _guarded(self) -> None:
        """Everything, with one exit for what goes wrong."""
        try:
            await self._store()
        except asyncio.CancelledError:
            self._error = ShuttingDown("file cut at the end of the drain")
            raise
        except FastproxyError as fault:
            self._error = fault
        except Exception:
            log.exception("bug in a file of a form")
            self._error = Bug()
        finally:
            self._give_turn()
            self.buffer.close()
            self._owner.settled(self._error)

    async def _store(self) -> None:
        transfer, presigned = self._transfer, self._permission.presigned
        if presigned is not None and presigned.part_urls:  # ours from here on
            transfer.begun = await self.store.begin(transfer.key)
        self.stored = await transfer.run(self._owner.seconds_left)
        self._kit.metrics.count_stored(self.stored.size, transfer.parts)

    def _give_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._kit.storing.release()

    async def give_up(self, fault: FastproxyError) -> None:
        """Stop, and remove what is stored: the form has failed. Idempotent."""
        if self._step is Step.OVER:
            return
        self._step = Step.OVER
        if self._task is not None:  # first, for it may be sending what the buffer holds
            self._task.cancel()
            await asyncio.wait([self._task])
        self._give_turn()  # a task that is cancelled before its first step gives nothing back
        self.buffer.close()
        if self.stored is not None:
            await self.store.drop(self.stored)
            return
        self._kit.metrics.count_failure(self._error or fault)
        if self._transfer.begun is None:
            await abandon(self._kit, self._permission)

    def hand_over(self) -> Stored:
        """What is stored: from now on what becomes of it is for the report's answer to decide."""
        assert self.stored is not None  # noqa: S101 - only then there is a report
        self._step = Step.OVER
        return self.stored

    def close(self) -> None:
        """It is over; without this it would wait for the collector of cycles."""
        del self.buffer, self._inlet, self._transfer

    @property
    def is_temporary(self) -> bool:
        """Whether it goes once the backend has answered."""
        return self._kit.is_temporary(self._permission)

    def told(self) -> StoredFile:
        """What the backend is told. Only when it is stored."""
        assert self.stored is not None  # noqa: S101 - only then there is a report
        upload = self._kit.told(
            self._permission,
            self.stored,
            self._transfer,
            began=self._begun_at,
            name=self.head.filename or "",
        )
        return StoredFile(self.head.name, upload)


async def abandon(kit: UploadKit, permission: Permission) -> None:
    """Abort what the backend has begun for a file that does not come."""
    if permission.presigned is not None and permission.presigned.part_urls:
        begun = await kit.store_for(permission).begin(permission.key or secrets.token_hex(16))
        await begun.abort()


def _key_of(permission: Permission, number: int) -> str:
    """The key is the first file's. Raises FormTooLarge, BadAuthorizeAnswer."""
    if number > 1 and permission.presigned is not None:
        raise FormTooLarge("the backend has signed URLs for one file")
    if not permission.key:
        return secrets.token_hex(16)
    key = f"{permission.key}-{number}" if number > 1 else permission.key
    if len(key.encode()) > MAX_KEY:
        raise BadAuthorizeAnswer("key: no room for the number of a file")
    return key
