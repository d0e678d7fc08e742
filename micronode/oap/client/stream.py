"""A call whose request and answer are sent and taken piece by piece: :class:`OAPStream`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from micronode.oap.client.body import RequestBody, check_piece
from micronode.oap.client.errors import GRACE_S, too_late
from micronode.oap.client.exchange import Exchange
from micronode.oap.client.outcome import Outcome
from micronode.oap.client.response import OAPResponse

#: What :meth:`OAPStream.read` takes at a time: a whole chunk.
_READ_BYTES = 65_536


class OAPStream:
    """One call, both ways at once; made by :meth:`micronode.oap.client.OAPClient.stream`.

    ::

        async with client.stream(Profile.MEDIA, "put", {}) as stream:
            await stream.send(b"...")       # waits while there is no room
            await stream.end()
            print(await stream.head())
            async for chunk in stream:      # b"".join of all: the answer's body
                ...

    Every method returns a Deferred. Leaving the context before the body of the answer was taken to its end
    cancels the call, and so does cancelling any of the Deferreds that wait.
    """

    def __init__(
        self,
        opening: Deferred[Exchange],
        clock: IReactorTime,
        deadline_ms: int | None = None,
        *,
        sends: bool = True,
    ) -> None:
        """:param deadline_ms: milliseconds to the head; the node has a little more to say so itself.
        :param sends: whether the request has a body.
        """
        self._opening = opening
        #: Why no more may be sent; None: more may.
        self._closed = None if sends else "the call was opened without a body (sends=False)"
        self._late: IDelayedCall | None = None
        self._expired = False
        if deadline_ms is not None:
            self._late = clock.callLater(deadline_ms / 1000 + GRACE_S, self._expire)
        self._exchange: Exchange | None = None
        self._opened: Outcome[Exchange] = Outcome(self.cancel)
        self._answered: Outcome[OAPResponse] = Outcome(self.cancel)
        opening.addCallbacks(self._is_open, self._is_refused)

    def _is_open(self, exchange: Exchange) -> None:
        self._exchange = exchange
        exchange.answered.addBoth(self._settle)
        self._opened.settle(exchange)

    def _is_refused(self, failure: Failure) -> None:
        if self._expired:
            failure = Failure(too_late())
        self._opened.settle(failure)
        self._settle(failure)

    def _settle(self, answer: OAPResponse | Failure) -> None:
        late, self._late = self._late, None
        if late is not None:
            late.cancel()
        self._answered.settle(answer)

    def _expire(self) -> None:
        self._late, self._expired = None, True
        if self._exchange is None:
            self._opening.cancel()
        else:
            self._exchange.give_up(too_late())

    def send(self, data: bytes) -> Deferred[None]:
        """Send a piece of the request's body.

        :return: a Deferred that fires (None) when all of it was sent and there is room for more. Fails with
            :class:`~micronode.oap.client.OAPError` when the call failed. Where the node has answered whole
            before the request was, the rest is dropped and all is well.
        :raises TypeError: *data* is not bytes; nothing of it was sent.
        :raises RuntimeError: the request has ended, or has no body.
        """
        check_piece(data)
        self._check_open()
        return self._when_open(lambda body: body.send(data))

    def end(self) -> Deferred[None]:
        """End the request: its body is whole.

        :return: a Deferred that fires (None) when everything was sent; fails as :meth:`send` does.
        :raises RuntimeError: the request has ended already, or has no body.
        """
        self._check_open()
        self._closed = "the request was ended before"
        return self._when_open(RequestBody.finish)

    def head(self) -> Deferred[dict[str, Any]]:
        """Return a Deferred that fires with the head of the answer, and fails as :meth:`send` does."""
        return self._answered.when().addCallback(lambda response: response.head)

    def read(self, max_bytes: int = _READ_BYTES) -> Deferred[bytes]:
        """Take the next piece of the answer's body; one at a time.

        :return: a Deferred that fires with at most *max_bytes* as soon as there are any, with ``b""`` when
            the body was whole; fails as :meth:`send` does.
        """
        exchange = self._exchange
        if exchange is not None and exchange.response is not None:
            return exchange.response.take(max_bytes)
        return self._answered.when().addCallback(lambda response: response.take(max_bytes))

    def cancel(self) -> None:
        """Give the call up; harmless when it is over. What still waits for it fails."""
        exchange = self._exchange
        if exchange is None:
            self._opening.cancel()
        elif exchange.response is not None:
            # Whole or not: what of the body was not taken is of no use any more.
            exchange.response.abort()
            exchange.cancel()
        else:
            exchange.give_up()

    def _check_open(self) -> None:
        if self._closed is not None:
            raise RuntimeError(self._closed)

    def _when_open(self, act: Callable[[RequestBody], Deferred[None]]) -> Deferred[None]:
        if self._exchange is not None:
            return act(_body(self._exchange))
        return self._opened.when().addCallback(lambda exchange: act(_body(exchange)))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data = await self.read()
        if not data:
            raise StopAsyncIteration
        return data

    async def __aenter__(self) -> Self:
        await self._opened.when()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()


def _body(exchange: Exchange) -> RequestBody:
    assert exchange.body is not None
    return exchange.body
