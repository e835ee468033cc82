import asyncio

import pytest

from fastproxy.loop.batches import CallBatches
from tests.support.waiting import until


def test_so_many_are_called_in_an_iteration_in_order_and_others_have_theirs_in_between() -> None:
    async def main() -> None:
        batches = CallBatches(asyncio.get_running_loop(), at_once=3)
        called: list[int] = []
        for number in range(8):
            batches.add(lambda number=number: called.append(number))
        seen = [len(called)]
        while len(batches):
            await asyncio.sleep(0)
            seen.append(len(called))
        assert seen == [3, 6, 8]
        assert called == list(range(8))
        await asyncio.sleep(0)
        batches.add(lambda: called.append(8))
        assert called[-1] == 8, "at once again"

    asyncio.run(main())


def test_one_that_raises_keeps_nobody_else() -> None:
    def fail() -> None:
        raise RuntimeError("mine")

    async def main() -> None:
        troubles: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: troubles.append(context["exception"]))
        batches = CallBatches(loop, at_once=1)
        called: list[str] = []
        with pytest.raises(RuntimeError):
            batches.add(fail)
        batches.add(fail)
        batches.add(lambda: called.append("last"))
        await until(lambda: called)
        assert len(troubles) == 1

    asyncio.run(main())
