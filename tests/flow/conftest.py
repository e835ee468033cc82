"""A real S3 store; one echoing backend and one proxy for tests that need nothing special."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.servers.seaweed import seaweed
from tests.support.harness import Proxy, proxy, to_backend
from tests.support.origin import Origin, origin

__all__ = ["plain", "seaweed"]


@dataclass
class Plain:
    """`backend` remembers all that other tests did, too."""

    proxy: Proxy
    backend: Origin


@pytest.fixture(scope="module")
def plain() -> Iterator[Plain]:
    with origin() as backend, proxy(to_backend(backend.address)) as running:
        yield Plain(running, backend)
