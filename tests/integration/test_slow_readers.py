"""Callers on real sockets that take their answers too slowly are cut off, by both doors, and nobody else.

The node's time flies, so that a window of half a minute is over in a second; the sockets' does not.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from micronode import Config, make_node
from micronode.oap.wire.profiles import Profile
from tests.support.hasty import HastyReactor
from tests.support.measures import sample
from tests.support.oap import hello, start
from tests.support.owners import BadOwner, BadProtocol

reactor: Any = installed_reactor

PACE = 40
CID = "b3:" + "0" * 64
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ASKED = {
    "http": f"GET /app/media/{CID} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    "oap": hello() + start(2, Profile.MEDIA, "get", {"cid": CID}),
}
#: Lets the owner trickle: see :class:`Owner`.
SLOWLY = {
    "http": ASKED["http"].replace(CID.encode(), CID[:-1].encode() + b"1"),
    "oap": hello() + start(2, Profile.MEDIA, "get", {"cid": CID[:-1] + "1"}),
}


class Owner(BadOwner):
    """Sends without an end: one object as fast as it is taken, the other a few bytes at a time."""

    def answer(self, connection: BadProtocol) -> None:
        transport: Any = connection.transport
        if not connection.path.endswith(b"1"):
            super().answer(connection)
            return
        # The whole head of a long answer, so that the node passes on what comes.
        transport.write(HEAD + b"18000\r\n%s\r\n" % bytes(0x18000))
        trickle = LoopingCall(lambda: transport.connected and transport.write(b"5\r\nhello\r\n"))
        trickle.start(0.05)
        self.trickles.append(trickle)

    trickles: list[LoopingCall]


class Reader(Protocol):
    """Reads all there is, or a few bytes now and then.

    :ivar got: bytes.
    :ivar gone: whether the connection was lost.
    """

    def __init__(self, *, fast: bool) -> None:
        self._fast = fast
        self.got = 0
        self.gone = False
        self._later: IDelayedCall | None = None

    def connectionMade(self) -> None:
        if not self._fast:
            transport: Any = self.transport
            transport.bufferSize = transport.readBufferSize = 1_000

    def dataReceived(self, data: bytes) -> None:
        self.got += len(data)
        if not self._fast:
            transport: Any = self.transport
            transport.pauseProducing()
            self._later = reactor.callLater(0.2, self._go_on)

    def _go_on(self) -> None:
        self._later = None
        transport: Any = self.transport
        transport.resumeProducing()

    def stop(self) -> None:
        """Go."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        transport: Any = self.transport
        transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone = True
        self.stop()


class SlowReadersTests(TestCase):
    timeout = 20

    async def serve(self) -> None:
        self.owner = Owner(reactor, HEAD + b"|" + b"4000\r\n%s\r\n" % bytes(0x4000), "pour")
        self.owner.trickles = []
        self.addCleanup(self.owner.stop)
        loopback = {"listen": "127.0.0.1:0"}
        config = {
            "http": loopback,
            "admin": loopback,
            "oap": loopback,
            "owners": {"storage": {"url": self.owner.url, "timeout": "1h"}},
            "facets": {"media": {"enabled": True, "timeout": "1h"}},
            "drain": {"grace": "0s", "deadline": "0s"},
            # Only the rate is looked at: nobody takes nothing for so long.
            "timeouts": dict.fromkeys(("handshake", "read", "idle", "write_stall"), "1h"),
            "limits": {"min_rate": "1KiB"},
        }
        self.node = make_node(Config.from_mapping(config), HastyReactor(reactor, PACE))
        self.node.privilegedStartService()
        self.node.startService()
        self.addCleanup(self.node.stopService)

    async def call(self, door: str, asked: bytes, *, fast: bool) -> Reader:
        point = clientFromString(reactor, f"tcp:{self.node.addresses[door]}")
        reader = await connectProtocol(point, Reader(fast=fast))
        self.addCleanup(reader.stop)
        transport: Any = reader.transport
        transport.write(asked)
        return reader

    @property
    def cut(self) -> float:
        return sample(self.node.metrics, "rejected_total", reason="slow_reader")

    async def cut_off(self, door: str) -> None:
        await self.serve()
        slow = await self.call(door, ASKED[door], fast=False)
        patient = await self.call(door, SLOWLY[door], fast=True)
        with capturedLogs() as events:
            while not self.cut:
                await deferLater(reactor, 0.02)
        for trickle in self.owner.trickles:
            self.addCleanup(lambda trickle=trickle: trickle.running and trickle.stop())
        told = [event for event in events if event["log_format"] == "cutting_off"]
        self.assertEqual([(event["reason"], event["ingress"]) for event in told], [("slow_reader", door)])
        while self.node.calls > 1:
            await deferLater(reactor, 0.02)
        before = patient.got
        self.assertFalse(patient.gone, "it is its owner who is slow")
        while patient.got == before:
            await deferLater(reactor, 0.02)
        self.assertEqual((self.cut, self.node.calls), (1, 1))
        self.assertGreater(slow.got, 0)
        gates = {gate["facet"]: gate["in_use"] for gate in self.node.status.as_dict()["gates"]}
        self.assertEqual(gates["media"], 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_over_http(self) -> None:
        await self.cut_off("http")

    async def test_over_oap(self) -> None:
        await self.cut_off("oap")
