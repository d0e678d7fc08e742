"""A facet of your own beside the node's: one class, reached through both doors.

Run it::

    .venv/bin/python docs/examples/own_facet.py Ada

What it shows: an operation is one row that both HTTP and OAP/1 are generated from, its handler returns a
head and a body and never sees a socket, errors are names of the protocol, and the node gates, times and
counts it like its own. ``docs/FACETS.rst`` has the rest, and ``own_streams.py`` beside this one streams.
"""

import json
import sys
from urllib.parse import quote

import attrs
import treq
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from zope.interface import implementer

from micronode import Config, make_node
from micronode.calls.call import Call, Reply, ResponseHead
from micronode.calls.operations import Access, Argument, Operation
from micronode.errors import ErrorCode, NodeError
from micronode.facets.hosted import FacetSettings
from micronode.interfaces import IFacet, IReplyBody, IResponseSink
from micronode.oap.client import OAPError, connect

#: A profile (app_proto_id) that the protocol does not use.
PROFILE = 0x7001


@implementer(IReplyBody)
@attrs.frozen
class Text:
    """A body that is all there."""

    data: bytes

    def relay(self, head: ResponseHead, sink: IResponseSink) -> Deferred:
        """Send it."""
        sink.start(head)
        sink.write(self.data)
        return sink.finish()

    def abort(self) -> None:
        """There is nothing to let go of."""


@implementer(IFacet)
class Greetings:
    """``greetings.hello``: ``GET /app/greetings/{name}``, or profile 0x7001, op ``hello``."""

    name = "greetings"

    def operations(self) -> tuple[Operation, ...]:
        """See IFacet."""
        return (
            Operation(
                name="greetings.hello",
                facet=self.name,
                method="GET",
                path="/app/greetings/{name}",
                profile=PROFILE,
                op="hello",
                access=Access.READ,
                handler=self.hello,
                arguments=(Argument(name="name", required=True, max_length=40),),
            ),
        )

    async def hello(self, call: Call) -> Reply:
        """Greet whom the caller names."""
        name = call.args["name"]
        if not name.isprintable():
            raise NodeError(ErrorCode.BAD_REQUEST, "that is no name to greet")
        data = json.dumps({"greeting": f"Hello, {name}!"}).encode()
        return Reply(head=ResponseHead(content_type="application/json", length=len(data)), body=Text(data))


async def by_http(address, name):
    """Return the greeting, or why there is none; any name is one quoted segment of the path."""
    segment = quote(name, safe="", errors="replace")
    response = await treq.get(f"http://{address}/app/greetings/{segment}", timeout=10)
    answer = await response.json()
    return answer["greeting"] if response.code == 200 else f"{answer['code']}: {answer['message']}"


async def by_oap(client, name):
    """Return the same by the other door."""
    try:
        answer = await client.call(PROFILE, "hello", {"name": name})
        return json.loads(await answer.read(4096))["greeting"]
    except OAPError as error:
        return f"{error.name}: {error.message}"
    except ValueError as error:  # no JSON: half a character
        return f"not sent: {error}"


async def main(reactor, name="you"):
    """Serve the facet, and ask it by both doors."""
    loopback = {"listen": "127.0.0.1:0"}
    config = {"http": loopback, "admin": loopback, "oap": loopback, "drain": {"grace": "0s"}}
    facets = [(Greetings(), FacetSettings(limit=8, timeout=1.0))]
    node = make_node(Config.from_mapping(config), reactor, facets=facets)
    node.startService()
    try:
        print("HTTP: ", await by_http(node.addresses["http"], name))
        client = await connect(reactor, f"oap://{node.addresses['oap']}")
        print("OAP/1:", await by_oap(client, name))
        await client.close()
    finally:
        await node.stopService()


if __name__ == "__main__":
    react(main, sys.argv[1:])
