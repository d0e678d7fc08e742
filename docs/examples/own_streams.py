"""A facet of your own that streams: a body in, an answer out, and a subscription; nothing is collected.

Run it::

    .venv/bin/python docs/examples/own_streams.py

What it shows: ``text.upper`` answers each piece of its request's body as it comes, and a caller that does not
read is not read from; ``text.count`` sends messages as the caller takes them, over OAP/1 and as server-sent
events. The rules: ``docs/FACETS.rst``.
"""

import base64
import json
import sys

import attrs
import treq
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.internet.task import deferLater, react
from zope.interface import implementer

from micronode import Config, make_node
from micronode.calls.call import Reply, ResponseHead
from micronode.calls.operations import Access, Argument, BodyRule, Operation
from micronode.facets.hosted import FacetSettings
from micronode.interfaces import IEventSink, IFacet, IReplyBody
from micronode.oap.client import connect

#: A profile (app_proto_id) that the protocol does not use.
PROFILE = 0x7002


@implementer(IReplyBody, IConsumer, IPushProducer)
class Upper:
    """The body of an answer, made of the request's: it consumes one and produces the other."""

    def __init__(self, body):
        self._body = body
        self._sink = None

    def relay(self, head, sink):
        """Send the head, then what comes; the sink pauses us, and we pause the request."""
        return Deferred.fromCoroutine(self._relay(head, sink))

    async def _relay(self, head, sink):
        sink.start(head)
        self._sink = sink
        sink.registerProducer(self, True)
        try:
            await self._body.startProducing(self)  # cancelled when the caller has gone
        finally:
            sink.unregisterProducer()
        await sink.finish()

    def abort(self):
        """Nobody wants the answer: take no more of the request."""
        self._body.stopProducing()

    # IConsumer, for the request's body

    def registerProducer(self, producer, streaming):
        """The body is known already."""

    def unregisterProducer(self):
        """See registerProducer."""

    def write(self, data):
        """Pass a piece on."""
        self._sink.write(data.upper())

    # IPushProducer, for the sink

    def pauseProducing(self):
        """The caller does not read: what it sends waits in its window."""
        self._body.pauseProducing()

    def resumeProducing(self):
        """It reads again."""
        self._body.resumeProducing()

    def stopProducing(self):
        """It has gone; the relay is cancelled, too."""
        self._body.stopProducing()


@implementer(IReplyBody)
@attrs.frozen
class Count:
    """The messages of a subscription: a number every now and then."""

    clock: object
    upto: int

    def relay(self, head, sink):
        """Send the messages; cancelled when the caller goes, cancels, or the node stops."""
        return Deferred.fromCoroutine(self._relay(head, IEventSink(sink)))

    async def _relay(self, head, sink):
        sink.start(head)
        for number in range(1, self.upto + 1):
            message = {
                "msg_id": str(number),
                "ts": self.clock.seconds(),
                "attempt": 1,
                "attrs": {},
                "payload_b64": base64.b64encode(f"{number}".encode()).decode(),
            }
            data = json.dumps(message).encode()
            await sink.when_room(len(data))  # the caller's window, and the connection's turn
            sink.write_event(data, event_id=str(number))  # over HTTP, where the id has a place
            await deferLater(self.clock, 0.01)
        await sink.finish()

    def abort(self):
        """Nothing is held before the relay."""


@implementer(IFacet)
class Text:
    """``text.upper`` and ``text.count``."""

    name = "text"

    def __init__(self, clock):
        self._clock = clock

    def operations(self):
        """See IFacet."""
        shared = {"facet": self.name, "profile": PROFILE, "access": Access.READ}
        return (
            Operation(
                name="text.upper",
                op="upper",
                method="POST",
                path="/app/text/upper",
                handler=self.upper,
                body=BodyRule.STREAMED,
                max_body=1 << 30,
                **shared,
            ),
            Operation(
                name="text.count",
                op="count",
                method="GET",
                path="/app/text/count",
                handler=self.count,
                arguments=(Argument(name="upto", type=int, default=3, minimum=1, maximum=1000),),
                subscribes=True,
                **shared,
            ),
        )

    async def upper(self, call):
        """Answer before the request is whole."""
        return Reply(head=ResponseHead(content_type="text/plain"), body=Upper(call.body))

    async def count(self, call):
        """Subscribe."""
        return Reply(
            head=ResponseHead(content_type="application/json"), body=Count(self._clock, call.args["upto"])
        )


class Events:
    """Reads server-sent events of the node's: a line with an id, one with JSON, an empty one."""

    def __init__(self):
        self._begun = b""

    def __call__(self, data):
        """Take what came, which may be a part of an event, or several."""
        *events, self._begun = (self._begun + data).split(b"\n\n")
        for event in events:
            fields = dict(line.split(b": ", 1) for line in event.split(b"\n"))
            if b"data" in fields:  # comments have none
                payload = base64.b64decode(json.loads(fields[b"data"])["payload_b64"])
                print("event", fields[b"id"].decode(), payload.decode())


async def main(reactor):
    """Serve the facet, and ask it."""
    loopback = {"listen": "127.0.0.1:0"}
    config = {"http": loopback, "admin": loopback, "oap": loopback, "drain": {"grace": "0s"}}
    facets = [(Text(reactor), FacetSettings(limit=8, subscriptions=8))]
    node = make_node(Config.from_mapping(config), reactor, facets=facets)
    node.startService()
    try:
        client = await connect(reactor, f"oap://{node.addresses['oap']}")
        async with client.stream(PROFILE, "upper", {}) as stream:
            for word in (b"piece ", b"by ", b"piece"):
                await stream.send(word)
                print((await stream.read()).decode(), end="")
            await stream.end()
            print((await stream.read()).decode())
        async with client.events(PROFILE, "count", {"upto": 3}) as messages:
            async for message in messages:
                print("message", message["payload"].decode())
        await client.close()
        url = f"http://{node.addresses['http']}/app/text/count?upto=3"
        response = await treq.get(url, unbuffered=True)
        await treq.collect(response, Events())
    finally:
        await node.stopService()


if __name__ == "__main__":
    react(main, sys.argv[1:])
