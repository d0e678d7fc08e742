"""A feed in memory: the facet that serves a :class:`MemoryMailbox` until there is an owner for it.

It keeps every promise of ``specs/oap-1.md`` section 3, "Subscriptions": the relay asks the mailbox for no
more than the caller has room for, and gives back what was not confirmed when the subscription ends. No
arguments of type object exist yet, so messages have the attributes that :meth:`MemoryMailbox.send` is given.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from micronode.calls.call import Call, Reply, ResponseHead
from micronode.calls.operations import Access, Argument, BodyRule, Operation
from micronode.errors import ErrorCode, NodeError
from micronode.facets.replies import JSON, HeldBody
from micronode.interfaces import IEventSink, IFacet, IReplyBody, IResponseSink
from micronode.oap.wire.profiles import Profile
from tests.support.mailbox import MemoryMailbox

MAX_PAYLOAD = 1024 * 1024


@implementer(IReplyBody)
class Messages:
    """The body of a subscription: the messages of a topic, as they come and as the caller takes them."""

    def __init__(self, mailbox: MemoryMailbox, topic: str) -> None:
        self._mailbox = mailbox
        self._topic = topic

    def relay(self, head: ResponseHead, sink: IResponseSink) -> Deferred[None]:
        """See IReplyBody; *sink* is an IEventSink."""
        return Deferred.fromCoroutine(self._relay(head, IEventSink(sink)))

    async def _relay(self, head: ResponseHead, sink: Any) -> None:
        mailbox, topic = self._mailbox, self._topic
        sink.start(head)
        try:
            while True:
                message = mailbox.take(topic, sink.event_room, sink.max_event, self)
                if message is not None:
                    sink.write_event(message, event_id=json.loads(message)["msg_id"])
                    continue
                size = mailbox.next_size(topic, sink.max_event)
                if size is not None:
                    await sink.when_room(size)
                elif mailbox.is_closed(topic):
                    await sink.finish()
                    return
                else:
                    await mailbox.when_changed(topic)
        finally:
            mailbox.give_back(topic, self)

    def abort(self) -> None:
        """See IReplyBody: nothing is taken before the relay."""


class _Collector:
    """Takes a request's body."""

    def __init__(self) -> None:
        self.data = bytearray()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See IConsumer: everything is taken at once."""

    def unregisterProducer(self) -> None:
        """See IConsumer."""

    def write(self, data: bytes) -> None:
        """See IConsumer."""
        self.data += data


@implementer(IFacet)
class MemoryFeed:
    """The feed facet before a :class:`MemoryMailbox`."""

    name = "feed"

    def __init__(self, mailbox: MemoryMailbox) -> None:
        self._mailbox = mailbox

    def operations(self) -> tuple[Operation, ...]:
        """``feed.send``, ``feed.ack``, ``feed.nack``, ``feed.subscribe``."""
        topic = Argument(name="topic", required=True, max_length=128)
        of_message = (topic, Argument(name="msg_id", required=True, max_length=128))
        shared: dict[str, Any] = {"facet": self.name, "profile": Profile.FEED, "access": Access.WRITE}
        return (
            Operation(
                name="feed.send",
                op="send",
                method="POST",
                path="/app/feed/{topic}",
                handler=self._send,
                arguments=(topic,),
                body=BodyRule.STREAMED,
                max_body=MAX_PAYLOAD,
                **shared,
            ),
            Operation(
                name="feed.ack",
                op="ack",
                method="POST",
                path="/app/feed/{topic}/ack/{msg_id}",
                handler=self._ack,
                arguments=of_message,
                **shared,
            ),
            Operation(
                name="feed.nack",
                op="nack",
                method="POST",
                path="/app/feed/{topic}/nack/{msg_id}",
                handler=self._nack,
                arguments=of_message,
                **shared,
            ),
            Operation(
                name="feed.subscribe",
                op="subscribe",
                method="GET",
                path="/app/feed/{topic}/events",
                handler=self._subscribe,
                arguments=(topic, Argument(name="last_event_id", header="last-event-id", max_length=1024)),
                subscribes=True,
                **shared,
            ),
        )

    async def _send(self, call: Call) -> Reply:
        if call.idempotency_key is None:
            raise NodeError(ErrorCode.BAD_REQUEST, "an idempotency key is required")
        collector = _Collector()
        if call.body is not None:
            await call.body.startProducing(collector)
        msg_id, duplicate = self._mailbox.send(
            call.args["topic"], bytes(collector.data), key=call.idempotency_key
        )
        data = json.dumps({"msg_id": msg_id, "duplicate": duplicate}, separators=(",", ":")).encode()
        head = ResponseHead(status=200 if duplicate else 201, content_type=JSON, length=len(data))
        return Reply(head=head, body=HeldBody(data))

    async def _ack(self, call: Call) -> Reply:
        return _done(self._mailbox.ack(call.args["topic"], call.args["msg_id"]))

    async def _nack(self, call: Call) -> Reply:
        return _done(self._mailbox.nack(call.args["topic"], call.args["msg_id"]))

    async def _subscribe(self, call: Call) -> Reply:
        head = ResponseHead(status=200, content_type=JSON)
        if call.args["last_event_id"] is not None:
            self._mailbox.ack(call.args["topic"], call.args["last_event_id"])
        return Reply(head=head, body=Messages(self._mailbox, call.args["topic"]))


def _done(there: bool) -> Reply:
    if not there:
        raise NodeError(ErrorCode.NOT_FOUND, "there is no such message")
    return Reply(head=ResponseHead(status=204))
