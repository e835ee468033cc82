"""Which senders a backend has: those that its configuration gives something to send."""

from fastproxy.config.schema import Send
from fastproxy.handlers.git_kit import GitRoom
from fastproxy.protocol import Dialect
from fastproxy.senders.contract import Sender
from fastproxy.senders.files import make_file_sender, make_location_sender
from fastproxy.senders.git import make_git_senders


def make_senders(send: Send, dialect: Dialect, git: GitRoom) -> dict[str, Sender]:
    """By the kind of the orders."""
    senders: dict[str, Sender] = {}
    if send.files:
        senders["file"] = make_file_sender(send.files)
    if send.locations:
        senders["location"] = make_location_sender(send.locations)
    if send.git:
        senders |= make_git_senders(git, dialect)
    return senders
