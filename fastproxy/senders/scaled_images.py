"""Images made narrower in a backend's place. What cannot be scaled is sent as it is."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from fastproxy.errors import BadOrder
from fastproxy.images.pool import CannotScale, Scalers
from fastproxy.message import Headers
from fastproxy.senders.contract import Delivery, Sender
from fastproxy.senders.sources import Source, Sources

log = logging.getLogger("fastproxy")

_WINDOW: Final = 128 << 10
_SAFE: Final = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"})


class ScaledImage(msgspec.Struct, forbid_unknown_fields=True):
    """The order: an image by its key or its path, its type, and how wide it is to be at most."""

    width: int
    content_type: str
    key: str = ""
    store: str = "default"
    path: str = ""


class SendScaledImage(msgspec.Struct, rename="pascal"):
    """GitLab's: a path or URL."""

    location: str
    width: int
    content_type: str


class ImageSenders:
    """Of one backend. `widths`: those that may be asked for; others would fill caches and time."""

    def __init__(self, sources: Sources, scalers: Scalers, widths: Sequence[int]) -> None:
        self._sources = sources
        self._scalers = scalers
        self._widths = frozenset(widths)

    def by_kind(self) -> Mapping[str, Sender]:
        """As a registry wants them."""
        return {"image": self.send, "send-scaled-img": self.send_as_workhorse}

    async def send(self, delivery: Delivery) -> None:
        """See Sender."""
        order = delivery.parse(ScaledImage)
        if bool(order.key) == bool(order.path):
            raise BadOrder("an image has a key or a path")
        sources = self._sources
        image = sources.file(order.path) if order.path else sources.object(order.store, order.key)
        await self._send(delivery, image, order.content_type, order.width)

    async def send_as_workhorse(self, delivery: Delivery) -> None:
        """See Sender."""
        order = delivery.parse(SendScaledImage)
        image = self._sources.location(order.location)
        await self._send(delivery, image, order.content_type, order.width)

    async def _send(self, delivery: Delivery, image: Source, content_type: str, width: int) -> None:
        if width not in self._widths:
            raise BadOrder(f"images of {width} pixels are not made")
        if content_type not in _SAFE:
            raise BadOrder("not the type of an image that browsers show")
        size = await image.look()
        fields: Headers = [(b"X-Content-Type-Options", b"nosniff")]
        if delivery.kept(b"content-type") is None:
            fields.append((b"Content-Type", content_type.encode("ascii")))
        scaled = await self._scaled(image, size, content_type, width)
        if scaled is not None:
            delivery.respond(200, fields, len(scaled))
            await delivery.write(scaled)
        else:
            delivery.respond(200, fields, size)
            await _send_whole(delivery, image, size)
        delivery.end()

    async def _scaled(
        self, image: Source, size: int, content_type: str, width: int
    ) -> bytes | None:
        if size > self._scalers.max_source:
            return None
        try:
            return await self._scalers.scale(partial(image.read, 0, size), content_type, width)
        except CannotScale as reason:
            log.info("an image is sent as it is: %s", reason)
            return None


async def _send_whole(delivery: Delivery, image: Source, size: int) -> None:
    if delivery.is_head:
        return
    for at in range(0, size, _WINDOW):
        await delivery.write(await image.read(at, min(_WINDOW, size - at)))
