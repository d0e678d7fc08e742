"""A facet of a host's own to subscribe to: messages in memory, each one for one reader at a time."""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from micronode.calls.call import Call, Reply, ResponseHead
from micronode.calls.operations import Access, Argument, Operation
from micronode.interfaces import IEventSink, IFacet, IReplyBody, IResponseSink

#: A profile that the protocol does not use.
PROFILE = 0x7003


@implementer(IReplyBody)
class _Reading:
    """The body of one subscription."""

    def __init__(self, news: News) -> None:
        self._news = news

    def relay(self, head: ResponseHead, sink: IResponseSink) -> Deferred[None]:
        """See IReplyBody; *sink* is an IEventSink."""
        return Deferred.fromCoroutine(self._relay(head, IEventSink(sink)))

    async def _relay(self, head: ResponseHead, sink: Any) -> None:
        news, held = self._news, []
        sink.start(head)
        try:
            while True:
                if news.waiting:
                    await sink.when_room(len(news.waiting[0][1]))
                    if news.waiting and len(news.waiting[0][1]) <= sink.event_room:
                        held.append(news.take())
                        sink.write_event(held[-1][1], event_id=held[-1][0])
                elif news.closed:
                    await sink.finish()
                    # Whoever got all there is has confirmed it.
                    news.held.difference_update(msg_id for msg_id, _ in held)
                    held.clear()
                    return
                else:
                    await news.when_changed()
        finally:
            news.give_back(held)

    def abort(self) -> None:
        """Nothing is taken before the relay."""


@implementer(IFacet)
class News:
    """``news.watch``, and what it tells.

    :ivar waiting: messages that no reader has, as pairs of id and bytes.
    :ivar held: ids of those that one has.
    :ivar closed: whether subscriptions end when there is nothing left.
    """

    name = "news"
    path = "/app/news/watch"

    def __init__(self) -> None:
        self.waiting: deque[tuple[str, bytes]] = deque()
        self.held: set[str] = set()
        self.closed = False
        self._last = 0
        self._listeners: list[Deferred[None]] = []

    def operations(self) -> tuple[Operation, ...]:
        """See IFacet."""
        return (
            Operation(
                name="news.watch",
                facet=self.name,
                method="GET",
                path=self.path,
                profile=PROFILE,
                op="watch",
                access=Access.READ,
                handler=self._watch,
                arguments=(Argument(name="last_event_id", header="last-event-id", max_length=1024),),
                subscribes=True,
            ),
        )

    async def _watch(self, call: Call) -> Reply:
        known = call.args["last_event_id"]
        self.waiting = deque(each for each in self.waiting if each[0] != known)
        return Reply(head=ResponseHead(content_type="application/json"), body=_Reading(self))

    def tell(self, *messages: bytes) -> None:
        """Add messages; their ids are ``n-1`` and so on."""
        for message in messages:
            self._last += 1
            self.waiting.append((f"n-{self._last}", message))
        self._changed()

    def close(self) -> None:
        """Let subscriptions end when there is nothing left."""
        self.closed = True
        self._changed()

    def take(self) -> tuple[str, bytes]:
        """Return the next message."""
        message = self.waiting.popleft()
        self.held.add(message[0])
        return message

    def give_back(self, messages: list[tuple[str, bytes]]) -> None:
        """Let others have *messages*, in their order."""
        self.waiting.extendleft(reversed(messages))
        self.held.difference_update(msg_id for msg_id, _ in messages)
        self._changed()

    def when_changed(self) -> Deferred[None]:
        """Return a Deferred that fires (None) when there may be something to take. It may be cancelled."""
        listener: Deferred[None] = Deferred(lambda each: self._listeners.remove(each))
        self._listeners.append(listener)
        return listener

    def _changed(self) -> None:
        listeners, self._listeners = self._listeners, []
        # From the last: who gets the first message of a burst changes with each.
        for listener in reversed(listeners):
            listener.callback(None)
