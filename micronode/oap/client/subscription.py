"""A subscription at the client: messages as the node sends them, at the pace they are asked for."""

from __future__ import annotations

import contextlib
from typing import Any, Self

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from micronode.oap.client.exchange import Exchange
from micronode.oap.client.inbox import Inbox
from micronode.oap.client.outcome import Outcome
from micronode.oap.client.response import OAPResponse


class Subscription:
    """Messages of one topic, one at a time; made by :meth:`micronode.oap.client.OAPClient.subscribe`.

    ::

        async with client.subscribe("orders") as messages:
            async for message in messages:
                handle(message["payload"])
                await client.ack("orders", message["msg_id"])

    A message is a dict: ``msg_id``, ``ts``, ``attempt``, ``attrs`` and ``payload`` (bytes). It counts as
    taken when the next one is asked for; the node sends no more than fits the window (128 KiB) beyond that.
    What is not acked is delivered again, to this or another subscriber. The iteration ends when the node
    ends the subscription, and raises :class:`~micronode.oap.client.OAPError` when it fails it.

    Leaving the context, :meth:`aclose`, and dropping the last reference cancel the subscription.
    """

    def __init__(self, opening: Deferred[Exchange], inbox: Inbox) -> None:
        self._inbox = inbox
        # Nothing below may refer to this object, or it would never go away by itself.
        self._call = _Call(opening, inbox)

    def head(self) -> Deferred[dict[str, Any]]:
        """Return a Deferred that fires with the head of the answer: the node takes the subscription."""
        return self._call.answered.when().addCallback(lambda response: response.head)

    def next(self) -> Deferred[dict[str, Any] | None]:
        """Ask for the next message; one at a time.

        :return: a Deferred that fires with it, or with None when the node ended the subscription; fails
            with :class:`~micronode.oap.client.OAPError`. Cancelling it loses no message.
        """
        return self._inbox.next()

    def cancel(self) -> None:
        """End the subscription; harmless when it is over."""
        self._call.cancel()

    async def aclose(self) -> None:
        """End the subscription, as an async generator does."""
        self.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        message = await self.next()
        if message is None:
            raise StopAsyncIteration
        return message

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    def __del__(self) -> None:
        # `async for` does not close what it iterates over when it is left by a break.
        # Where there is no connection any more, at the end of the process above all, nobody is to be told.
        with contextlib.suppress(Exception):
            self._call.cancel()


class _Call:
    """The call of a subscription, from its opening on."""

    def __init__(self, opening: Deferred[Exchange], inbox: Inbox) -> None:
        self.answered: Outcome[OAPResponse] = Outcome()
        self._opening = opening
        self._inbox = inbox
        self._exchange: Exchange | None = None
        opening.addCallbacks(self._is_open, self._is_refused)

    def _is_open(self, exchange: Exchange) -> None:
        self._exchange = exchange
        exchange.answered.addBoth(self.answered.settle)

    def _is_refused(self, failure: Failure) -> None:
        self.answered.settle(failure)
        self._inbox.end(failure.value)

    def cancel(self) -> None:
        self._inbox.clear()
        if self._exchange is None:
            self._opening.cancel()
        else:
            self._exchange.give_up()
