"""What stands around fastproxy: a backend, an S3 store, and a proxy before it that fails."""

import hashlib
import random
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.flow.upload_site import SECRET, Site, body_of, running
from tests.flow.upload_world import Bucket
from tests.servers.seaweed import Seaweed
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.monolith import Asked, Monolith, Said, Script, accept, permit

WORKERS = 2
_CLOSES = 0.02  # of all plain answers: the backend's last one on that connection


class Echo(Monolith):
    """Answers with what it was sent, or with as many bytes as the path says. Forgets most."""

    def __init__(self) -> None:
        super().__init__(SECRET)
        self.seen = deque(maxlen=100)  # type: ignore[assignment]

    def _script(self, asked: Asked) -> Script:
        return super()._script(asked) if asked.is_question or asked.is_report else _echo


def _echo(asked: Asked) -> Said:
    _, _, size = asked.path.partition("/bytes/")
    said = Said(200, body_of(int(size)) if size else asked.body)
    if random.random() < _CLOSES:
        said.fields.append(("Connection", "close"))
        said.raw = said.encode()
    return said


@dataclass
class Town:
    """One fastproxy and all around it. `lies`: reports that the store does not bear out."""

    site: Site
    store: FaultProxy
    bucket: Bucket
    lies: list[str]

    def verify(self, asked: Asked) -> Said:
        """The backend's part in a report: read the object, compare it, remove it."""
        upload = asked.upload
        body = self.bucket.read(upload["key"])
        if hashlib.sha256(body).hexdigest() != upload["hashes"]["sha256"]:
            self.lies.append(f"{asked.path}: {upload}, and {len(body)} other bytes in the store")
        self.bucket.client.delete_object(Bucket=self.bucket.name, Key=upload["key"])
        return accept(asked)


@contextmanager
def town(home: Path, seaweed: Seaweed) -> Iterator[Town]:
    """Running, until the block ends."""
    with ExitStack() as stack:
        address = urlsplit(seaweed.endpoint)
        store = stack.enter_context(fault_proxy(address.hostname or "", address.port or 0))
        backend = Echo()
        stack.callback(backend.close)
        bucket = Bucket(seaweed, "soak")
        site = Site(
            home,
            backend,
            server={"workers": WORKERS, "upload_drain": "20s"},
            store={"default": bucket.table(home, endpoint=store.endpoint)},
            route=[
                {"action": "python", "path": "/census", "handler": "tests.soak.census:census"},
                {"action": "upload", "path": "/uploads/**", "hashes": ["sha256"]},
                {"action": "proxy", "name": "all"},
            ],
        )
        around = Town(site, store, bucket, [])
        backend.authorize = lambda asked: permit()
        backend.report = around.verify
        stack.enter_context(running(site))
        yield around
