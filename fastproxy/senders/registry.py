"""Which senders a backend has: those that its configuration gives something to send."""

from collections.abc import Mapping
from ipaddress import ip_network

from msgspec import Struct

from fastproxy.config.schema import Send
from fastproxy.handlers.git.kit import GitRoom
from fastproxy.images.pool import Scalers
from fastproxy.loop.reactor import Reactor
from fastproxy.protocol import Dialect
from fastproxy.senders.contract import Sender
from fastproxy.senders.files import make_file_sender, make_location_sender
from fastproxy.senders.git.registry import make_git_senders
from fastproxy.senders.objects import make_object_sender
from fastproxy.senders.scaled_images import ImageSenders
from fastproxy.senders.sources import Sources
from fastproxy.senders.store_client import StoreClient
from fastproxy.senders.urls.sender import UrlSenders
from fastproxy.senders.zip_members import make_zip_senders
from fastproxy.upstream.pinned import PinnedPools
from fastproxy.upstream.pool import PoolLimits


class SendingKit(Struct, frozen=True):
    """What a worker's senders are made of. `store_clients`: all stores, by their names."""

    store_clients: Mapping[str, StoreClient]
    reactor: Reactor
    dialect: Dialect
    git: GitRoom
    scalers: Scalers


def make_senders(send: Send, kit: SendingKit) -> tuple[dict[str, Sender], PinnedPools]:
    """By the kind of the orders; and what is to be closed at the end."""
    limits = PoolLimits(send.connect_timeout)  # as many as there are readers
    pools = PinnedPools(kit.reactor, limits, [ip_network(text) for text in send.networks])
    senders: dict[str, Sender] = {}
    if send.files:
        senders["file"] = make_file_sender(send.files)
    if send.locations:
        senders["location"] = make_location_sender(send.locations)
    chosen = {name: kit.store_clients[name] for name in send.stores}
    if chosen:
        senders["object"] = make_object_sender(chosen, send.timeout)
    urls = UrlSenders(send.hosts, pools, send.timeout) if send.hosts else None
    if urls is not None:
        senders |= urls.by_kind()
    sources = Sources(chosen, send.files, urls)
    if chosen or send.files or urls is not None:
        senders |= make_zip_senders(sources)
    if send.image_widths:
        senders |= ImageSenders(sources, kit.scalers, send.image_widths).by_kind()
    if send.git:
        senders |= make_git_senders(kit.git, kit.dialect)
    return senders, pools
