"""The feed facet: topics of messages that come again until they are acknowledged, from the mailbox owner.

All of it is access ``write``, ``recv`` and ``subscribe`` too, as they take messages away from others for a
time; and the node asks its owner for none of it twice. ``specs/oap-1.md`` section 6.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProducer
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from micronode.calls.answers import Answer
from micronode.calls.call import Call, Reply, ResponseHead
from micronode.calls.operations import Access, Argument, BodyRule, Operation
from micronode.errors import ErrorCode, NodeError
from micronode.facets.answers import MESSAGES, NO_CONTENT, SENT, SENT_BEFORE, SUBSCRIBED
from micronode.facets.messages import OWNER, is_msg_id, read_sent
from micronode.facets.replies import JSON, HeldBody, json_reply, refusal
from micronode.facets.subscription import Deliveries, Subscription
from micronode.interfaces import IFacet, IMailboxOwner, IOwnerReply
from micronode.oap.wire.profiles import Profile

MAX_PAYLOAD: Final = 1_048_576
#: Bytes of messages as JSON that one ``recv`` asks for: the longest there may be fits.
MAX_RECV: Final = 2_097_152
MAX_WAIT_MS: Final = 20_000
#: Of the time that there is for an answer this is the owner's to give it, after it has waited: a fifth, or so
#: many seconds, the less of both.
_ANSWER_S: Final = 1.0
_NO_STORE: Final = (("cache-control", "no-store"),)
_RECV_MESSAGES: Final = {ErrorCode.BAD_REQUEST: "the mailbox does not take such a topic"}
_NO_KEY: Final = (
    "a message needs an idempotency key (Idempotency-Key over HTTP; over OAP/1 idempotency_key in the head, "
    "which is --idempotency-key of micronode call)"
)
_NO_MESSAGE: Final = {ErrorCode.NOT_FOUND: "there is no such message, or not any more"}

_TOPIC: Final = Argument(name="topic", required=True, max_length=128, doc="The topic's name.")
_MSG_ID: Final = Argument(name="msg_id", required=True, max_length=128, doc="The message's id.")
_VISIBILITY: Final = Argument(
    name="visibility_ms",
    type=int,
    default=30_000,
    minimum=1_000,
    maximum=12 * 3_600_000,
    doc="How long a message is the receiver's alone; not acknowledged by then, it comes again.",
)


@implementer(IFacet)
class FeedFacet:
    """See :class:`~micronode.interfaces.IFacet`.

    :param deliveries: what the subscriptions of this one and of those before it share.
    :param timeout_s: seconds from dispatch to the head of an answer; a ``recv`` waits within them.
    """

    name = "feed"

    def __init__(self, mailbox: IMailboxOwner, deliveries: Deliveries, *, timeout_s: float) -> None:
        self._mailbox = mailbox
        self._deliveries = deliveries
        self._timeout_s = timeout_s

    def operations(self) -> tuple[Operation, ...]:
        """``feed.send``, ``feed.recv``, ``feed.ack``, ``feed.nack``, ``feed.subscribe``."""
        return (
            self._operation(
                "send",
                "/app/feed/{topic}",
                self._send,
                _TOPIC,
                Argument(name="attrs", type=dict, doc="Words beside the payload, an object of strings."),
                summary="Send a message; with the same Idempotency-Key again, it is there once.",
                answers=(SENT, SENT_BEFORE),
                errors=(ErrorCode.CONFLICT,),
                body=BodyRule.STREAMED,
                max_body=MAX_PAYLOAD,
                needs_key=True,
            ),
            self._operation(
                "recv",
                "/app/feed/{topic}/recv",
                self._recv,
                _TOPIC,
                Argument(name="max", type=int, default=10, minimum=1, maximum=100, doc="Messages at most."),
                _VISIBILITY,
                Argument(
                    name="wait_ms",
                    type=int,
                    default=0,
                    minimum=0,
                    maximum=MAX_WAIT_MS,
                    doc="How long to wait for a message where there is none, within the facet's timeout.",
                ),
                summary="Receive messages, oldest first.",
                answers=(MESSAGES,),
                body=BodyRule.ARGUMENTS,
            ),
            self._operation(
                "ack",
                "/app/feed/{topic}/ack/{msg_id}",
                self._ack,
                _TOPIC,
                _MSG_ID,
                summary="Acknowledge a message: it does not come again.",
                answers=(NO_CONTENT,),
                errors=(ErrorCode.NOT_FOUND,),
            ),
            self._operation(
                "nack",
                "/app/feed/{topic}/nack/{msg_id}",
                self._nack,
                _TOPIC,
                _MSG_ID,
                summary="Give a message back: it comes again at once.",
                answers=(NO_CONTENT,),
                errors=(ErrorCode.NOT_FOUND,),
            ),
            self._operation(
                "subscribe",
                "/app/feed/{topic}/events",
                self._subscribe,
                _TOPIC,
                _VISIBILITY,
                Argument(
                    name="last_event_id",
                    header="last-event-id",
                    max_length=128,
                    doc="A message that is acknowledged first, it alone; one that is not there is ignored.",
                ),
                summary="Get the messages of a topic as they come.",
                answers=(SUBSCRIBED,),
                method="GET",
                subscribes=True,
            ),
        )

    def _operation(
        self,
        op: str,
        path: str,
        handler: Callable[[Call], Awaitable[Reply]],
        *arguments: Argument,
        answers: tuple[Answer, ...],
        method: str = "POST",
        **more: Any,
    ) -> Operation:
        return Operation(
            name=f"feed.{op}",
            facet=self.name,
            method=method,
            path=path,
            profile=Profile.FEED,
            op=op,
            access=Access.WRITE,
            handler=handler,
            arguments=arguments,
            answers=answers,
            **more,
        )

    async def _send(self, call: Call) -> Reply:
        key, topic = call.idempotency_key, call.args["topic"]
        if key is None:
            raise NodeError(ErrorCode.BAD_REQUEST, _NO_KEY)
        payload = await _collect(call.body)
        reply = await self._mailbox.send(call, topic, payload, key=key, attributes=call.args["attrs"] or {})
        duplicate, data = await read_sent(reply)
        if not duplicate:
            self._deliveries.polls.wake((call.tenant, topic))
        head = ResponseHead(
            status=200 if duplicate else 201, content_type=JSON, length=len(data), headers=_NO_STORE
        )
        return Reply(head=head, body=HeldBody(data))

    async def _recv(self, call: Call) -> Reply:
        args = call.args
        reply = await self._mailbox.recv(
            call,
            args["topic"],
            max_messages=args["max"],
            max_bytes=MAX_RECV,
            visibility_ms=args["visibility_ms"],
            wait_ms=self._wait_ms(args["wait_ms"], call.deadline_s),
        )
        answer = json_reply(reply, OWNER, _RECV_MESSAGES)
        return attrs.evolve(answer, head=attrs.evolve(answer.head, headers=_NO_STORE))

    def _wait_ms(self, asked_ms: int, deadline_s: float | None) -> int:
        """Return for how long the owner may wait, so that there is time for its answer."""
        given_s = self._timeout_s if deadline_s is None else min(self._timeout_s, deadline_s)
        most_s = given_s - min(_ANSWER_S, given_s / 5)
        return max(0, min(asked_ms, int(most_s * 1000)))

    async def _ack(self, call: Call) -> Reply:
        msg_id = call.args["msg_id"]
        reply = _settled(await self._mailbox.ack(call, msg_id))
        self._deliveries.unconfirmed.settle(call.tenant, msg_id)
        return reply

    async def _nack(self, call: Call) -> Reply:
        msg_id = call.args["msg_id"]
        # Before: it may be delivered again sooner than the owner's answer comes.
        self._deliveries.unconfirmed.settle(call.tenant, msg_id)
        reply = _settled(await self._mailbox.nack(call, msg_id))
        self._deliveries.polls.wake((call.tenant, call.args["topic"]))
        return reply

    async def _subscribe(self, call: Call) -> Reply:
        args, known = call.args, call.args.get("last_event_id")
        # Anybody can say anything there; what no message is called is not asked for.
        if known and is_msg_id(known):
            reply = await self._mailbox.ack(call, known)
            if reply.status not in (200, 204, 400, 404):
                raise refusal(reply, OWNER)
            reply.discard()
            self._deliveries.unconfirmed.settle(call.tenant, known)
        body = Subscription(
            call, args["topic"], self._mailbox, self._deliveries, visibility_ms=args["visibility_ms"]
        )
        return Reply(head=ResponseHead(content_type=JSON, headers=_NO_STORE), body=body)


def _settled(reply: IOwnerReply) -> Reply:
    if reply.status not in (200, 204):
        raise refusal(reply, OWNER, _NO_MESSAGE)
    reply.discard()
    return Reply(head=ResponseHead(status=204))


class _Collector:
    """Takes a request's body; it is bounded by whoever lets it in."""

    def __init__(self) -> None:
        self.data = bytearray()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See IConsumer: everything is taken at once."""

    def unregisterProducer(self) -> None:
        """See IConsumer."""

    def write(self, data: bytes) -> None:
        """See IConsumer."""
        self.data += data


async def _collect(body: IBodyProducer | None) -> bytes:
    collector = _Collector()
    if body is not None:
        collected: Deferred[None] = body.startProducing(collector)
        await collected
    return bytes(collector.data)
