"""Doubles for the HTTP ingress: a stub dispatcher, an in-memory connection, a reader of raw answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from micronode.calls.call import Call, ResponseHead
from micronode.calls.operations import Access, Argument, BodyRule, Operation
from micronode.calls.table import OperationTable
from micronode.errors import NodeError
from micronode.http.channel import HttpChannel
from micronode.http.head import HeadReader
from micronode.http.limits import Deadlines
from micronode.http.request import Request, make_request
from micronode.http.routes import Route, Routes
from micronode.http.site import HttpSite, make_app_site
from micronode.observability.metrics import Metrics

DATE = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"


async def _unused(call: Call) -> Any:
    raise AssertionError("the stub dispatcher calls no facet")


def operation(name: str, method: str, path: str, op: str, **more: Any) -> Operation:
    """Return an operation of no facet's."""
    given: dict[str, Any] = {"profile": 0x0402, "access": Access.READ, "handler": _unused, **more}
    return Operation(name=name, facet=name.partition(".")[0], method=method, path=path, op=op, **given)


def make_table() -> OperationTable:
    """Return operations of every shape the ingress knows."""
    key = Argument(name="key", required=True)
    return OperationTable(
        [
            operation(
                "search.query",
                "GET",
                "/app/search",
                "query",
                arguments=(
                    Argument(name="q", required=True),
                    Argument(name="limit", type=int, default=10, minimum=1, maximum=100),
                ),
            ),
            operation("graph.resolve", "GET", "/app/graph/resolve/{key}", "resolve", arguments=(key,)),
            operation(
                "media.put",
                "POST",
                "/app/media",
                "put",
                body=BodyRule.STREAMED,
                max_body=1 << 30,
                arguments=(Argument(name="content_type", header="content-type"),),
            ),
            operation(
                "feed.send",
                "POST",
                "/app/feed/{key}",
                "send",
                body=BodyRule.STREAMED,
                max_body=10,
                arguments=(key,),
            ),
            operation("media.get", "GET", "/app/media/{key}", "get", arguments=(key,)),
            operation("media.head", "HEAD", "/app/media/{key}", "head", arguments=(key,)),
            operation("feed.ack", "POST", "/app/feed/{key}/ack", "ack", arguments=(key,)),
        ]
    )


class StubDispatcher:
    """Answers every call by *answer*; keeps the calls, their sinks and what was cancelled."""

    def __init__(self, answer: Callable[[Call, Any], Any] | None = None) -> None:
        self.table = make_table()
        self.calls: list[Call] = []
        self.sinks: list[Any] = []
        self.cancelled: list[Call] = []
        self.results: list[Deferred[None]] = []
        self.answer = answer

    def dispatch(self, call: Call, sink: Any) -> Deferred[None]:
        """Note the call; without an answer its Deferred stays open."""

        def cancel(deferred: Deferred[None]) -> None:
            self.cancelled.append(call)
            deferred.callback(None)

        self.calls.append(call)
        self.sinks.append(sink)
        result: Deferred[None] = Deferred(cancel)
        self.results.append(result)
        if self.answer is not None:
            self.answer(call, sink)
            result.callback(None)
        return result

    def turn_away(self, operation: Operation, origin: str) -> NodeError | None:
        """Turn nobody away."""
        return None


def say(text: bytes, **head: Any) -> Callable[[Call, Any], None]:
    """Return an answer for :class:`StubDispatcher`: *text*, of known length."""

    def answer(call: Call, sink: Any) -> None:
        sink.start(ResponseHead(length=len(text), content_type="text/plain", **head))
        sink.write(text)
        sink.finish()

    return answer


class OpenRoutes:
    """Stands in for Routes: takes every request, with any body, and hands it to *serve*."""

    def __init__(self, serve: Callable[[Request], Deferred[None] | None]) -> None:
        self.run = serve

    def admit(self, request: Request) -> None:
        """Find that the route is there."""
        request.route = Route(
            name="any", methods=frozenset(), path="/", handler=lambda request: None, max_body_bytes=1 << 20
        )
        request.max_encoded_bytes = 1 << 20

    @staticmethod
    def decode(request: Request, data: bytes) -> bytes:
        """Take the body as it is."""
        return data


def make_open_site(
    serve: Callable[[Request], Deferred[None] | None], *, clock: Clock, metrics: Metrics
) -> HttpSite:
    """Return a site of :class:`OpenRoutes`."""
    return HttpSite(
        routes=cast(Routes, OpenRoutes(serve)),
        metrics=metrics,
        deadlines=Deadlines(),
        clock=clock,
        access=lambda fields: None,
        wall=lambda: 0.0,
    )


class Wire(StringTransport):
    """A transport that can half-close, refuse bytes, and pause its producer."""

    half_closed = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def fill(self) -> None:
        """Act as if the transport's buffer were full."""
        self.producer.pauseProducing()

    def drain(self) -> None:
        """Act as if the caller had read everything."""
        self.producer.resumeProducing()


@attrs.define
class Answer:
    """One response, cut out of the raw bytes."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def read_answers(raw: bytes, *, heads: Iterable[int] = ()) -> list[Answer]:
    """Cut *raw* into responses; raises where it is no exact sequence of them.

    :param heads: indices of answers to HEAD.
    """
    answers: list[Answer] = []
    without = set(heads)
    while raw:
        head, separator, raw = raw.partition(b"\r\n\r\n")
        assert separator, f"no whole head: {head!r}"
        line, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = line.split(" ", 2)
        assert version == "HTTP/1.1", line
        fields: dict[str, str] = {}
        for each in lines:
            name, colon, value = each.partition(": ")
            assert colon, each
            assert name.lower() not in fields, f"{name} twice"
            fields[name.lower()] = value
        body = b""
        if len(answers) in without or int(status) in (100, 204, 304):
            pass
        elif "transfer-encoding" in fields:
            while True:
                size, _, raw = raw.partition(b"\r\n")
                count = int(size, 16)
                body += raw[:count]
                assert raw[count : count + 2] == b"\r\n", raw[:40]
                raw = raw[count + 2 :]
                if not count:
                    break
        elif "content-length" in fields:
            count = int(fields["content-length"])
            assert len(raw) >= count, "the body is cut short"
            body, raw = raw[:count], raw[count:]
        else:
            body, raw = raw, b""
        answers.append(Answer(int(status), fields, body))
    return answers


@attrs.define
class Timeouts:
    read: float = 5.0
    body: float = 10.0
    write_stall: float = 30.0


def make_metrics() -> Metrics:
    return Metrics(facets=(), owners=(), states=(), build={"version": "0"})


class Plane:
    """A site under test with everything around it."""

    def __init__(
        self,
        dispatcher: StubDispatcher | None = None,
        *,
        site: HttpSite | None = None,
        clock: Clock | None = None,
        **options: Any,
    ) -> None:
        self.clock = clock or Clock()
        self.log: list[dict[str, object]] = []
        self.dispatcher = dispatcher or StubDispatcher(say(b"hello"))
        self.metrics = make_metrics()
        self.site = site or make_app_site(
            dispatcher=self.dispatcher,
            metrics=self.metrics,
            timeouts=Timeouts(),
            idle_s=75.0,
            clock=self.clock,
            access=self.log.append,
            wall=lambda: 0.0,
            **options,
        )

    def connect(self, transport: StringTransport | None = None) -> Connection:
        return Connection(self, transport or Wire())

    def sample(self, name: str, **labels: str) -> float:
        """Return the value of a metric, 0 where it is not there."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


class Connection:
    """A caller's end of one connection in memory."""

    def __init__(self, plane: Plane, transport: StringTransport) -> None:
        self.plane = plane
        self.transport: Any = transport
        channel = plane.site.buildProtocol(None)
        assert isinstance(channel, HttpChannel)
        self.channel = channel
        self.channel.makeConnection(transport)

    def send(self, data: bytes) -> Connection:
        self.channel.dataReceived(data)
        return self

    def trickle(self, data: bytes) -> Connection:
        """Send byte by byte, as long as the node listens."""
        for index in range(len(data)):
            self.channel.dataReceived(data[index : index + 1])
        return self

    def raw(self) -> bytes:
        """Take what the node sent so far."""
        value: bytes = self.transport.value()
        self.transport.clear()
        return value

    def answers(self, *, heads: Iterable[int] = ()) -> list[Answer]:
        return read_answers(self.raw(), heads=heads)

    def answer(self) -> Answer:
        (only,) = self.answers()
        return only

    def lose(self) -> None:
        """Go away."""
        self.channel.connectionLost(Failure(ConnectionDone()))

    @property
    def closing(self) -> bool:
        return bool(self.transport.disconnecting) or getattr(self.transport, "half_closed", False)

    @property
    def aborted(self) -> bool:
        return bool(self.transport.disconnected)


def get(path: str = "/app/search?q=x", *fields: str, method: str = "GET", host: str = "node") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(path: str, body: bytes, *fields: str) -> bytes:
    return get(path, f"Content-Length: {len(body)}", *fields, method="POST") + body


def request_of(data: bytes) -> Request:
    """Return the request whose head *data* is."""
    head = HeadReader().read(bytearray(data))
    assert head is not None
    return make_request(head, peer="peer", began_s=0.0)
