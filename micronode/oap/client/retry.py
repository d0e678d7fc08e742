"""One call of a client, from its first attempt to its last: when it is repeated, and by what time."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.iweb import IBodyProducer

from micronode.oap.client.backoff import Backoff, is_undone
from micronode.oap.client.bytes_body import BytesBody
from micronode.oap.client.errors import GRACE_S, OAPError, too_late
from micronode.oap.client.protocol import CallerProtocol
from micronode.oap.client.reconnect import Connections
from micronode.oap.client.response import OAPResponse
from micronode.oap.wire.caller_request import encode_request

#: A request's body: bytes, or what makes a producer, can be sent again; a producer can be sent once.
Body: TypeAlias = IBodyProducer | bytes | Callable[[], IBodyProducer] | None
#: What a connection that cannot be made fails with.
_UNCONNECTED: Final = (ConnectError, ConnectionClosed, DNSLookupError)


@attrs.frozen
class Request:
    """What is asked, whatever the connection.

    :raises ValueError: it is no JSON, or larger than any node takes.
    """

    profile: int
    head: Mapping[str, Any]
    cap: bytes

    def __attrs_post_init__(self) -> None:
        encode_request(self.head, self.cap)


@attrs.define
class Attempts:
    """The attempts at one call.

    :ivar retry: whether to repeat it where the node did nothing yet.
    :ivar idempotent: whether to repeat it also where that is not known.
    """

    clock: IReactorTime
    connections: Connections
    request: Request
    body: Body
    backoff: Backoff
    retry: bool
    idempotent: bool
    #: Whether the latest attempt got as far as the node.
    _sent: bool = attrs.field(default=False, init=False)
    #: Whether the body was given away and cannot be sent again.
    _spent: bool = attrs.field(default=False, init=False)

    def run(self) -> Deferred[OAPResponse]:
        """Make the call; see :meth:`micronode.oap.client.OAPClient.call`."""
        deadline_ms = self.request.head.get("deadline_ms")
        if deadline_ms is None:
            return Deferred.fromCoroutine(self._run(math.inf))
        seconds = deadline_ms / 1000
        asked = Deferred.fromCoroutine(self._run(self.clock.seconds() + seconds))
        return asked.addTimeout(seconds + GRACE_S, self.clock, onTimeoutCancel=_late)

    async def _run(self, until_s: float) -> OAPResponse:
        failures = 0
        while True:
            try:
                return await self._attempt(until_s)
            except (OAPError, *_UNCONNECTED) as error:
                failures += 1
                wait_s = self._wait_s(error, failures)
                if wait_s is None or self.clock.seconds() + wait_s >= until_s:
                    raise
            await deferLater(self.clock, wait_s)

    def _wait_s(self, error: Exception, failures: int) -> float | None:
        repeats = self.retry or self.idempotent
        told = error if isinstance(error, OAPError) else None
        helps = told is None or told.retryable
        safe = self.idempotent or not self._sent or is_undone(error)
        if not (repeats and helps and safe) or self._spent:
            return None
        return self.backoff.wait_s(failures, told.retry_after_ms if told else None)

    async def _attempt(self, until_s: float) -> OAPResponse:
        self._sent = False
        protocol = await self.connections.get()
        head = dict(self.request.head)
        if until_s < math.inf:
            left_ms = math.ceil((until_s - self.clock.seconds()) * 1000)
            if left_ms < 1:
                raise too_late()
            head["deadline_ms"] = left_ms
        self._sent = True
        return await self._call(protocol, head)

    def _call(self, protocol: CallerProtocol, head: Mapping[str, Any]) -> Awaitable[OAPResponse]:
        body = self.body
        if body is None or IBodyProducer.providedBy(body):
            self._spent = body is not None
            producer = body
        else:
            producer = BytesBody(body) if isinstance(body, bytes) else body()
        return protocol.call(self.request.profile, head, self.request.cap, producer)


def _late(_: object, seconds: float) -> OAPResponse:
    raise too_late()
