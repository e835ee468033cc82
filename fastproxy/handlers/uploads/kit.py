"""What all uploads of one route share."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from fastproxy.asking import Asker, Question
from fastproxy.claims import Signer
from fastproxy.config.schema import AnyStore, UploadRoute
from fastproxy.errors import BadAuthorizeAnswer, FastproxyError
from fastproxy.exchange import Exchange
from fastproxy.handlers.coroutine import Tasks
from fastproxy.handlers.forwarded import forwarded_lines
from fastproxy.handlers.proxy.proxy_pass import Target
from fastproxy.handlers.uploads.semaphore import CallbackSemaphore
from fastproxy.loop.deadlines import Deadlines
from fastproxy.memory.arena import Arena
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.message import ResponseHead
from fastproxy.observe.upload_metrics import UploadMetrics
from fastproxy.protocol import GITLAB
from fastproxy.storage.contract import Stored, StoreNeeds
from fastproxy.storage.presigned import PresignedTarget
from fastproxy.storage.tracked import TrackedStore
from fastproxy.uploads.answer import Permission, presigned_target, read_permission
from fastproxy.uploads.digests import require_available
from fastproxy.uploads.gitlab import read_gitlab
from fastproxy.uploads.plan import PartPlan, plan_parts
from fastproxy.uploads.report import StoredUpload
from fastproxy.uploads.scrub import Inlet, ScrubbedBuffer
from fastproxy.uploads.transfer import Transfer
from fastproxy.upstream.client import Answer


@dataclass
class UploadKit:
    """See the module."""

    route: UploadRoute
    target: Target
    store: TrackedStore | None  # None: the backend signs every URL
    arena: Arena
    signer: Signer
    open_presigned: Callable[[PresignedTarget], TrackedStore]
    metrics: UploadMetrics
    tasks: Tasks
    deadlines: Deadlines
    storing: CallbackSemaphore  # of whole bodies
    may_stream: bool = False  # known lengths need not be held
    others: Mapping[str, TrackedStore] = field(default_factory=dict)  # that the backend may name
    places: Mapping[str, AnyStore] = field(default_factory=dict)  # the configuration of them all
    asker: Asker[Permission] = field(init=False)

    def __post_init__(self) -> None:
        read = partial(read_permission, route=self.route)
        if self.target.dialect is GITLAB:
            read = partial(read_gitlab, route=self.route, stores=self.places)
        target, route = self.target, self.route
        self.asker = Asker(
            target.pool,
            self.signer,
            route.authorize_suffix,
            target.header_timeout_s,
            read,
            fixed_path=route.authorize_path,
        )

    def store_for(self, permission: Permission) -> TrackedStore:
        """Where the backend wants it. Raises BadAuthorizeAnswer."""
        if permission.presigned is not None:
            return self.open_presigned(presigned_target(permission.presigned))
        name = permission.store
        store = self.store if name in ("", self.route.store) else self.others.get(name)
        if store is None:
            raise BadAuthorizeAnswer(f"no presigned URLs, and no store {name[:64]!r} of the route")
        return store

    def place_of(self, permission: Permission) -> tuple[str, str]:
        """What the backend hears of it: the store's name, or where it said it can be read."""
        if permission.presigned is not None:
            return "", permission.presigned.get_url
        return permission.store or self.route.store, ""

    def plan(
        self, permission: Permission, needs: StoreNeeds, length: int | None
    ) -> tuple[PartPlan, int]:
        """The parts of a body of `length` bytes, None: not known; and how many bytes it may have.

        Raises BodyTooLarge, OwnFault.
        """
        require_available((*permission.hashes, *permission.expected))
        parts = plan_parts(needs, length, permission.part_size or self.route.part_size)
        limits = [self.route.max_size, needs.max_object, parts.most, *permission.limits(length)]
        if length is None and needs.max_parts == 1:  # more would wait for ever for the rest of it
            limits.append(self.arena.largest_part(needs))
        return parts, min(limits)

    def told(
        self,
        permission: Permission,
        stored: Stored,
        transfer: Transfer,
        *,
        began: float,
        name: str,
    ) -> StoredUpload:
        """What the backend hears. `began`: monotonic seconds; `name`: what the client calls it."""
        store, url = self.place_of(permission)
        return StoredUpload(
            permission.id,
            store,
            stored.key,
            stored.path,
            stored.size,
            stored.etag,
            transfer.digests.hex(),
            transfer.content_type,
            transfer.parts,
            round(time.monotonic() - began, 6),
            name,
            url,
        )

    def is_temporary(self, permission: Permission) -> bool:
        """Whether the object goes once the backend has answered."""
        wish = permission.delete_after
        return self.route.delete_after if wish is None else wish

    def inlet(self, buffer: UploadBuffer, on_refused: Callable[[FastproxyError], None]) -> Inlet:
        """What takes the bytes of `buffer`. `on_refused`: the route takes no such file."""
        if not self.route.scrub_images:
            return buffer
        return ScrubbedBuffer(buffer, self.route.refuse_images, on_refused)


def content_type_of(exchange: Exchange) -> str:
    """What the client says its body is."""
    return (exchange.head.header(b"content-type") or b"").decode("latin-1")


def question_of(exchange: Exchange) -> Question:
    """The client's request, for the backend."""
    head = exchange.head
    return Question(
        head.method,
        head.target,
        exchange.path,
        head.host,
        head.headers,
        forwarded_lines(exchange),
        head.content_length,
        content_type_of(exchange),
    )


def refuse(exchange: Exchange, answer: Answer) -> None:
    """The backend's refusal is the client's answer, unchanged."""
    head = ResponseHead(answer.status, answer.reason, answer.headers)
    head.content_length = len(answer.body)
    exchange.respond(head)
    exchange.write([answer.body])
    exchange.end()
