"""Callers that leave amid a body: the connection to the owner is cut, through either door, in any way.

The owner would go on for ever, and so would the caller's body: nothing but the caller's leaving ends a call.
A call that is not given up fails here for lack of time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from micronode import Config, make_node
from micronode.oap.wire.frames import ACK_REQ
from micronode.oap.wire.profiles import Profile
from tests.contracts.owner_storage import address
from tests.support.measures import sample
from tests.support.oap import body, cancel, hello, put, start
from tests.support.owners import BadOwner, BadProtocol

reactor: Any = installed_reactor

CID = address(b"what nobody ever sees whole")
#: An object without an end, a piece at a time, as fast as the node takes it.
ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n|" + b"4000\r\n%s\r\n" % bytes(0x4000)
#: One that stops amid its body, of which the caller has got some.
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(200_000)


def over_http(method: str, path: str, *fields: str, data: bytes = b"") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode() + data


GET = {
    "http": over_http("GET", f"/app/media/{CID}"),
    "oap": hello() + start(2, Profile.MEDIA, "get", {"cid": CID}),
    # The caller takes only so much of it, whatever the kernel takes.
    "oap, windowed": hello() + start(2, Profile.MEDIA, "get", {"cid": CID}, flags=ACK_REQ),
}
PUT = {
    # Its body is whole before the owner is asked; the owner takes it and says nothing.
    "http": over_http("POST", "/app/media", "Content-Length: 1000000", data=bytes(1_000_000)),
    "oap": hello() + put(2) + body(2, bytes(60_000)),
    "oap, windowed": hello() + put(2, flags=ACK_REQ) + body(2, bytes(60_000)),
    # The owner has all of it.
    "oap, whole": hello() + put(2) + body(2, bytes(60_000), ended=True),
}
OAP_GET = {name: data for name, data in GET.items() if name != "http"}
OAP_PUT = {name: data for name, data in PUT.items() if name != "http"}


class Caller(Protocol):
    """Counts what it gets."""

    count = 0

    def dataReceived(self, data: bytes) -> None:
        self.count += len(data)


def _reset(transport: Any) -> None:
    transport.abortConnection()


def _close(transport: Any) -> None:
    transport.loseConnection()


def _cancel(transport: Any) -> None:
    transport.write(cancel(2, Profile.MEDIA))


class Storage(BadOwner):
    """Is asked for nothing but what callers want, as far as the test can see.

    :ivar asked: connections with such a question.
    """

    def __init__(self, *how: Any) -> None:
        super().__init__(*how)
        self.asked: set[BadProtocol] = set()

    def answer(self, connection: BadProtocol) -> None:
        if connection.path == b"/readyz":
            connection.transport.loseConnection()  # type: ignore[union-attr]
            return
        self.asked.add(connection)
        super().answer(connection)

    def is_asked(self) -> bool:
        return bool(self.asked & self.open)


class CallerGoneTests(TestCase):
    timeout = 15

    def start(self, head: bytes) -> None:
        """Start a node whose storage owner answers with *head*, a line of which may be for ever."""
        self.owner = Storage(reactor, head, "pour" if b"|" in head else "stay")
        self.addCleanup(self.owner.stop)
        loopback = {"listen": "127.0.0.1:0"}
        config = {
            "http": loopback,
            "admin": loopback,
            "oap": loopback,
            "owners": {"storage": {"url": self.owner.url, "timeout": "1h"}},
            "facets": {"media": {"enabled": True, "timeout": "1h"}},
            # What would free the call without its caller's leaving comes after the test's end.
            "timeouts": dict.fromkeys(("idle", "stall", "stream_idle", "write_stall"), "1h"),
            "drain": {"grace": "0s", "deadline": "0s"},
        }
        self.node = make_node(Config.from_mapping(config), reactor)
        self.node.privilegedStartService()
        self.node.startService()
        self.addCleanup(self.node.stopService)

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await deferLater(reactor, 0.005)

    async def leave(
        self, door: str, asked: bytes, way: Callable[[Any], None], *, reads: bool = True, amid: bool = True
    ) -> None:
        """Make a call, leave amid it in *way*, and wait until the owner's connection is cut.

        :param reads: whether the caller reads; else it leaves when the kernel takes no more.
        :param amid: whether some of an answer must have come.
        """
        target = self.node.addresses[door.partition(",")[0]]
        caller = await connectProtocol(clientFromString(reactor, f"tcp:{target}"), Caller())
        transport: Any = caller.transport
        if not reads:
            transport.pauseProducing()
        transport.write(asked)
        await self.until(self.owner.is_asked)
        if not reads:
            poured = -1
            while self.owner.poured != poured:
                poured = self.owner.poured
                await deferLater(reactor, 0.05)
            self.assertGreater(poured, 0)
        elif amid:
            await self.until(lambda: caller.count > 100_000)
        way(transport)
        await self.until(lambda: not (self.owner.is_asked() or self.inflight()))
        if way is _cancel:
            transport.abortConnection()

    def inflight(self) -> float:
        return sum(
            sample(self.node.metrics, "inflight_requests", route=f"media.{op}") for op in ("get", "put")
        )

    async def scene(
        self, asked: dict[str, bytes], ways: tuple[Callable[[Any], None], ...], **how: Any
    ) -> None:
        for door, data in asked.items():
            for way in ways:
                if way is _cancel and not door.startswith("oap"):
                    continue
                await self.leave(door, data, way, **how)
        self.assertEqual(self.flushLoggedErrors(), [])

    # Down

    async def test_amid_an_answer_that_comes(self) -> None:
        self.start(ENDLESS)
        await self.scene({door: GET[door] for door in ("http", "oap")}, (_reset, _close, _cancel))

    async def test_amid_an_answer_that_it_does_not_read(self) -> None:
        self.start(ENDLESS)
        await self.scene(GET, (_reset, _close, _cancel), reads=False)

    async def test_amid_an_answer_that_stopped(self) -> None:
        """A close alone looks like a caller over HTTP that sends no more, and waits for the rest."""
        self.start(HALF)
        await self.scene(GET, (_reset,))
        await self.scene(OAP_GET, (_close, _cancel))

    async def test_before_an_answer(self) -> None:
        self.start(b"")
        await self.scene(GET, (_reset,), amid=False)
        await self.scene(OAP_GET, (_close, _cancel), amid=False)

    # Up

    async def test_amid_an_upload(self) -> None:
        self.start(b"")
        await self.scene(PUT, (_reset,), amid=False)
        await self.scene(OAP_PUT, (_close, _cancel), amid=False)
