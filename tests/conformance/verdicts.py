"""What a proxy did with each case, judged by the bytes its backend was sent."""

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from enum import Enum

import uvloop

from tests.conformance.cases import Case
from tests.conformance.parsers import by_h11, differences
from tests.conformance.plays import PATIENCE_S, Address, Talk
from tests.conformance.site import new_id
from tests.conformance.witness import Witness

Peer = Callable[[int], AbstractContextManager[int]]
_AT_ONCE = 256
_QUIET_S = 1.0  # so long without a byte, behind the answers that are due: there will be none
_MARK = re.compile(rb"(?:/p/|/smuggled/)([0-9a-z]{3})(?![0-9a-z])")


class Verdict(Enum):
    """What became of a case."""

    REFUSED = "refused"  # no request that is not expected reached the backend
    PASSED = "passed"  # all expected ones did, and no other
    ALIKE = "alike"  # more or something else did, but all parsers read the same
    APART = "apart"  # parsers read different requests, or one that was hidden


async def _play(address: Address, case: Case, mark: bytes) -> None:
    """Send it whole, and wait until nothing more comes."""
    talk = await Talk.open(address)
    try:
        await talk.send([case.send.replace(b"$ID", mark)], eof=case.eof)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                for number in range(len(case.forward)):
                    await talk.reply(is_head=number in case.play["heads"])
        with suppress(TimeoutError):
            while not talk.is_over:
                async with asyncio.timeout(_QUIET_S):
                    await talk.more()
    finally:
        talk.close()


async def _streams(peer: Peer, cases: list[Case], marks: list[bytes]) -> list[bytes]:
    """What the backend was sent, connection by connection."""
    witness = Witness()
    await witness.start()
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(case: Case, mark: bytes) -> None:
        async with gate:
            await _play(("127.0.0.1", port), case, mark)

    with peer(witness.port) as port:
        await asyncio.gather(*map(one, cases, marks))
        streams = [bytes(connection.stream) for connection in witness.connections]
        await witness.stop()
    return streams


def judge(peer: Peer, cases: list[Case]) -> list[Verdict]:
    """Play the cases to `peer`, which is given the port of its backend."""
    marks = [new_id() for _ in cases]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        streams = runner.run(_streams(peer, cases, marks))
    of_mark: dict[bytes, list[bytes]] = defaultdict(list)
    for stream in streams:
        for mark in set(_MARK.findall(stream)):
            of_mark[mark].append(stream)
    return [_verdict(case, mark, of_mark[mark]) for case, mark in zip(cases, marks, strict=True)]


def _verdict(case: Case, mark: bytes, streams: Iterable[bytes]) -> Verdict:
    readings = [(stream, by_h11(stream)) for stream in streams]
    if any(differences(stream, reading) for stream, reading in readings):
        return Verdict.APART
    seen = Counter((m.method, m.target, m.body) for _, r in readings for m in r.messages)
    wanted = Counter(one.filled(mark) for one in case.forward)
    if seen - wanted:
        return Verdict.ALIKE
    return Verdict.PASSED if seen == wanted and not case.refuse else Verdict.REFUSED
