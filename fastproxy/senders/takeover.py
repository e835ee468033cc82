"""The judge of one backend's answers: those that order something to be sent are taken over."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from fastproxy.errors import BadOrder
from fastproxy.exchange import Exchange
from fastproxy.handlers.coroutine import Dialogue, OnLeave, Tasks
from fastproxy.handlers.reply import Dropping, Reply
from fastproxy.message import ResponseHead
from fastproxy.observe.takeover_metrics import TakeoverMetrics
from fastproxy.protocol import Dialect
from fastproxy.senders.contract import Delivery, Sender
from fastproxy.senders.detection import Detecting, wants_detection
from fastproxy.senders.order import has_order, kind_of, read_order

_OK: Final = 200


class Takeover:
    """See the module. A Judge, but for its pages."""

    def __init__(
        self,
        senders: Mapping[str, Sender],
        dialect: Dialect,
        tasks: Tasks,
        metrics: TakeoverMetrics,
    ) -> None:
        """`senders`: by the kind that stands in the dialect's send field."""
        self._senders = senders
        self._send_field = dialect.send_field.lower().encode("ascii")
        self._detect_field = dialect.detect_field.lower().encode("ascii")
        self._tasks = tasks
        self._metrics = metrics

    def __call__(self, exchange: Exchange, reply: Reply, head: ResponseHead) -> Reply | None:
        """See Judge. Of other answers than 200 the order is only taken off."""
        if head.status != _OK or not has_order(head.controls, self._send_field):
            return Detecting(reply) if wants_detection(head, self._detect_field) else None
        dialogue = Dialogue(exchange, OnLeave.CANCEL)
        dialogue.start(self._tasks, partial(self._send, head))
        return Dropping()

    async def _send(self, head: ResponseHead, dialogue: Dialogue) -> None:
        kind = kind_of(head.controls, self._send_field)
        with self._metrics.counted(kind):
            order = read_order(head.controls, self._send_field)
            sender = self._senders.get(order.kind)
            if sender is None:
                raise BadOrder(f'"{order.kind}" is not sent for this backend')
            detects = wants_detection(head, self._detect_field)
            await sender(Delivery(dialogue, head, order.text, detects=detects))
