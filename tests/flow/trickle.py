"""A load process: many slow uploads of unknown length at once, in small interleaved writes.

    python -m tests.flow.trickle PORT PREFIX COUNT SECONDS SEED

Prints one line of JSON: for every upload its size, the SHA-256 of what was sent, and the answer's
status and body. Sizes are long-tailed; every upload spreads its writes over about SECONDS.
"""

import asyncio
import hashlib
import json
import random
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import uvloop

from tests.flow.upload_site import body_of

LEAST, MOST = 10 << 10, 2 << 20
WRITE = 8 << 10
CONNECT_AT_ONCE = 100


@dataclass(frozen=True)
class Plan:
    """What to send where."""

    port: int
    prefix: str
    count: int
    seconds: float
    seed: int

    def size(self, number: int) -> int:
        """Between LEAST and MOST, most of them small."""
        share = random.Random(self.seed + number).random() ** 1.5
        return int(LEAST * (MOST / LEAST) ** share)

    def body(self, number: int) -> bytes:
        """No two uploads have the same bytes at the same place."""
        return body_of(self.size(number) + number)[number:]


async def upload(plan: Plan, number: int, gate: asyncio.Semaphore) -> dict[str, Any]:
    """One upload, from its connection to its answer."""
    dice = random.Random(number)
    async with gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", plan.port)
    head = f"PUT {plan.prefix}{number} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    body = plan.body(number)
    left = memoryview(body)
    pause = plan.seconds / (len(body) / (WRITE / 2))
    while left:
        size = dice.randint(1, WRITE)
        piece, left = bytes(left[:size]), left[size:]
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await asyncio.sleep(pause * dice.uniform(0.5, 1.5))
        with suppress(ConnectionError):  # the answer says more
            await writer.drain()
    writer.write(b"0\r\n\r\n")
    try:
        status, answer = await read_answer(reader)
    except (ConnectionError, EOFError) as error:
        status, answer = 0, repr(error)
    writer.close()
    digest = hashlib.sha256(body).hexdigest()
    return {"size": len(body), "sha256": digest, "status": status, "answer": answer}


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
    body = await reader.readexactly(int(lines["content-length"]))
    return int(head.split(" ")[1]), body.decode()


async def main(plan: Plan) -> list[dict[str, Any]]:
    gate = asyncio.Semaphore(CONNECT_AT_ONCE)
    return await asyncio.gather(*(upload(plan, number, gate) for number in range(plan.count)))


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    port, prefix, count, seconds, seed = sys.argv[1:]
    asked = Plan(int(port), prefix, int(count), float(seconds), int(seed))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(main(asked))))
