import asyncio
import time

import pytest

from fastproxy.observe import pulse
from fastproxy.observe.metrics import Board


def test_it_measures_lag_and_memory_and_asks_the_samplers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "INTERVAL", 0.01)
    board = Board((), 1, "0")
    metrics = board.worker(0)

    async def main() -> None:
        asked = asyncio.Event()
        metrics.samplers.append(asked.set)
        beating = pulse.Pulse(metrics)
        beating.start()
        time.sleep(0.1)  # noqa: ASYNC251 - the loop is late on purpose
        async with asyncio.timeout(10):
            await asked.wait()
        beating.stop()

    asyncio.run(main())
    totals = board.totals()
    assert totals["fastproxy_worker_rss_bytes", ()][0] > 1 << 20
    assert totals["fastproxy_loop_lag_seconds", ()][-1] >= 0.08
