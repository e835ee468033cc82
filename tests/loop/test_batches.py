import asyncio
from itertools import pairwise

import pytest

from fastproxy.loop.batches import CallBatches, Turns
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


def test_tasks_go_on_in_turns_also_when_one_of_them_leaves() -> None:
    async def main() -> None:
        turns = Turns(asyncio.get_running_loop(), at_once=2)
        gone_on: list[int] = []

        async def go(number: int) -> None:
            await turns.take()
            gone_on.append(number)

        tasks = [asyncio.ensure_future(go(number)) for number in range(7)]
        seen = []
        while len(gone_on) < 6:
            await asyncio.sleep(0)
            seen.append(len(gone_on))
            tasks[3].cancel()
        assert max(after - before for before, after in pairwise([0, *seen])) == 2
        assert gone_on == [0, 1, 2, 4, 5, 6]
        assert tasks[3].cancelled()

    asyncio.run(main())
