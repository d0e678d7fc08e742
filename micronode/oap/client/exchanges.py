"""The open calls of one connection, at the client: which event is whose, and whose body is sent next."""

from __future__ import annotations

from typing import TypeAlias

from micronode.oap.client.errors import OAPError
from micronode.oap.client.exchange import Exchange
from micronode.oap.wire.caller_events import (
    CallFailed,
    ChunkReceived,
    CreditGranted,
    HeadReceived,
    MessageReceived,
)

StreamEvent: TypeAlias = ChunkReceived | MessageReceived | HeadReceived | CallFailed | CreditGranted


class Exchanges:
    """The calls that wait for their terminal frame and were not given up."""

    def __init__(self) -> None:
        self._open: dict[int, Exchange] = {}
        #: Ids of requests whose bodies wait for room, the one to be served first at the front.
        self._starved: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, exchange: Exchange) -> None:
        """Keep an exchange."""
        self._open[exchange.corr_id] = exchange

    def discard(self, corr_id: int) -> bool:
        """Forget an exchange.

        :return: whether it was open.
        """
        self._starved.pop(corr_id, None)
        return self._open.pop(corr_id, None) is not None

    def handle(self, event: StreamEvent) -> None:
        """Pass on what happened to a stream; that of one that was given up is nobody's."""
        if type(event) is CreditGranted:
            self._feed_one(event.corr_id) if event.corr_id else self.feed()
            return
        exchange = self._open.get(event.corr_id)
        if exchange is None:
            return
        match event:
            case ChunkReceived():
                exchange.received(event.data)
                self._ended(event.corr_id, ended=event.ended)
            case MessageReceived():
                exchange.messaged(event.data)
            case HeadReceived():
                exchange.began(event.head)
                self._ended(event.corr_id, ended=event.ended)
            case CallFailed():
                self._ended(event.corr_id, OAPError.from_object(event.code, event.error))

    def _ended(self, corr_id: int, error: OAPError | None = None, *, ended: bool = True) -> None:
        exchange = self._open.get(corr_id)
        if ended and exchange is not None:
            self.discard(corr_id)
            exchange.ended(error)

    def end(self, error: OAPError, *, last: int | None, unseen: OAPError) -> None:
        """End all: the connection is gone.

        :param last: the highest id that the node took, where it said so; calls above it fail with *unseen*.
        """
        exchanges, self._open = self._open, {}
        self._starved.clear()
        for corr_id, exchange in exchanges.items():
            exchange.ended(error if last is None or corr_id <= last else unseen)

    def give_up(self, error: OAPError) -> None:
        """Cancel all at the node, and fail them here."""
        for exchange in list(self._open.values()):
            exchange.give_up(error)

    # Bodies on their way out

    def starve(self, corr_id: int) -> None:
        """Let the body of a call go on when there is room; others that wait come first."""
        self._starved[corr_id] = None

    def feed(self) -> None:
        """Let the bodies that wait go on, in their turn. Who is served and still has some goes to the end."""
        starved, self._starved = self._starved, {}
        for corr_id in starved:
            self._feed_one(corr_id)

    def _feed_one(self, corr_id: int) -> None:
        self._starved.pop(corr_id, None)
        exchange = self._open.get(corr_id)
        if exchange is not None and exchange.body is not None:
            exchange.body.flush()

    def settle(self) -> None:
        """Stop those who write bodies, or let them go on, as there is room."""
        for exchange in list(self._open.values()):
            if exchange.body is not None:
                exchange.body.settle()
