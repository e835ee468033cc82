"""What a start loads: `python -m tests.service.start_probe CONFIGURATION` prints Findings as JSON.

The master's part and a worker's, one after the other in one process, as after a fork.
"""

import asyncio
import dataclasses
import gc
import json
import signal
import sys
import threading
from typing import Any

HEAVY = ("aioboto3", "boto3", "botocore", "aiobotocore", "aiohttp", "s3transfer")
# Of rooms that the configuration does not ask for, and what others would bring along.
ELSEWHERE = (
    "difflib",
    "fastproxy.handlers.forms.listing",
    "fastproxy.handlers.static.deploy_page",
    "fastproxy.handlers.waiting.poll",
    "fastproxy.senders.objects",
    "fastproxy.senders.registry",
    "mimetypes",
)


@dataclasses.dataclass
class Findings:
    """`late`: modules that the worker imported, not the master. `heavy` and `elsewhere`: which of
    those above are there when it accepts; `heavy_when_warm`: when it is warm. `contexts`: TLS
    contexts there are when it accepts. `stopping`: what of the heavy ones the event loop's own
    thread opened while it was serving.
    """

    late: list[str]
    heavy: list[str]
    elsewhere: list[str]
    contexts: int
    heavy_when_warm: list[str]
    stopping: list[str]


def heavy() -> list[str]:
    """Those that are loaded."""
    return [name for name in HEAVY if name in sys.modules]


def watch(opened: list[str]) -> None:
    """Note what the main thread opens of heavy modules from now on."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and threading.current_thread() is threading.main_thread():
            path = str(arguments[0])
            if any(f"/site-packages/{name}/" in path for name in HEAVY):
                opened.append(path)

    sys.addaudithook(hook)


def start(path: str) -> Findings:
    """As `fastproxy serve` does."""
    from fastproxy.config.check import load_judged
    from fastproxy.observe.access_log import AccessLog
    from fastproxy.observe.catalog import route_names
    from fastproxy.observe.metrics import Board
    from fastproxy.service.master import run_worker
    from fastproxy.service.worker import Serving, _application
    from fastproxy.upstream.origin import tls_context
    from fastproxy.worker.context import WorkerContext

    config, _ = load_judged(path)
    metrics = Board(route_names(config), 1, "0").worker(0)
    access_log = AccessLog("off", metrics.cell("fastproxy_access_log_dropped_total"))
    found = Findings([], [], [], 0, [], [])
    before = set(sys.modules)

    class Watched:
        """The application, asked to end as soon as it is warm."""

        def __init__(self, context: WorkerContext) -> None:
            self._inner: Serving = _application(context)

        async def start(self) -> None:
            await self._inner.start()
            found.late = sorted(
                name for name in set(sys.modules) - before if name.startswith("fastproxy.")
            )
            found.heavy = heavy()
            found.elsewhere = [name for name in ELSEWHERE if name in sys.modules]
            found.contexts = tls_context.cache_info().currsize
            watch(found.stopping)

        async def warm_up(self) -> None:
            await self._inner.warm_up()
            found.heavy_when_warm = heavy()
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)

        async def drain(self, *, deadline_s: float, upload_deadline_s: float) -> None:
            await self._inner.drain(deadline_s=deadline_s, upload_deadline_s=upload_deadline_s)

        async def stop(self) -> None:
            await self._inner.stop()

    run_worker(WorkerContext(config, 0, 1, (), metrics, access_log), Watched)
    assert gc.isenabled()
    return found


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(start(sys.argv[1]))))
