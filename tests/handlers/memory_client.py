"""An exchange without a connection: what is written is kept, what is asked is counted."""

from fastproxy.exchange import Exchange
from fastproxy.message import RequestHead


class MemoryClient:
    """A ClientSide and Reporter in memory."""

    def __init__(self):
        self.written = b""
        self.is_blocked = False
        self.is_body_complete = True
        self.reads_body = False
        self.is_cut = False
        self.kept = None
        self.reports = []
        self.on_write = lambda: None

    def write(self, pieces):
        self.written += b"".join(pieces)
        self.on_write()

    def want_body(self):
        self.reads_body = not self.is_body_complete

    def pause_body(self):
        self.reads_body = False

    def exchange_over(self, *, keep):
        self.kept = keep

    def abort(self):
        self.is_cut = True

    def report(self, exchange):
        self.reports.append(exchange)

    @property
    def body(self):
        return self.written.partition(b"\r\n\r\n")[2]

    @property
    def status(self):
        return int(self.written.split(b" ")[1]) if self.written else None


def exchange_of(client, *, method=b"GET", length=None, expects_continue=False):
    """An exchange whose body, if `length` says so, is still to come."""
    head = RequestHead(method, b"/", 1, [])
    head.content_length = length
    head.expects_continue = expects_continue
    client.is_body_complete = not head.has_body
    return Exchange(head, client, client, 1 << 30)
