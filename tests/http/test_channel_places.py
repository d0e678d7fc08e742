"""A connection over HTTP that makes way for others: an idle one, and one without a whole head."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.connections import Bounds
from tests.http.support import Connection, Plane, StubDispatcher, Wire, get, post


class SocketWire(Wire):
    """A transport with a real descriptor, whose other end is :attr:`far`."""

    def __init__(self, case: SynchronousTestCase) -> None:
        super().__init__()
        near, self.far = socket.socketpair()
        for each in (near, self.far):
            case.addCleanup(each.close)
        self.fileno = near.fileno


class PlacesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.plane = Plane()

    def channel(self, connection: Connection) -> Any:
        return connection.channel


class IdleTests(PlacesCase):
    def test_since_its_last_answer(self) -> None:
        connection = self.plane.connect()
        self.assertIsNone(connection.channel.idle_since_s, "its first head is to come")
        self.plane.clock.advance(3)
        connection.send(get())
        self.assertEqual(connection.channel.idle_since_s, 3.0)
        connection.send(b"GET /")
        self.assertIsNone(connection.channel.idle_since_s)

    def test_not_while_anything_goes_on(self) -> None:
        plane = Plane(StubDispatcher())
        called, sending = plane.connect().send(get()), plane.connect().send(post("/app/media", b"xx")[:-1])
        reading = self.plane.connect().send(get())
        reading.transport.fill()
        for connection in (called, sending, reading):
            self.assertIsNone(connection.channel.idle_since_s)
            self.assertFalse(connection.channel.reap())
            self.assertFalse(connection.closing)

    def test_reaped_politely(self) -> None:
        """Its caller sees an end, and no reset, also where a request crosses it."""
        connection = self.plane.connect().send(get())
        connection.raw()
        self.assertTrue(connection.channel.reap())
        self.assertTrue(connection.transport.half_closed)
        connection.send(get())
        self.assertEqual(connection.raw(), b"")
        self.plane.clock.advance(1.0)
        self.assertTrue(connection.transport.disconnecting)

    def test_not_where_a_request_is_in_the_socket(self) -> None:
        wire = SocketWire(self)
        connection = self.plane.connect(wire).send(get())
        wire.far.sendall(b"G")
        self.assertFalse(connection.channel.reap())
        self.assertFalse(connection.closing)


class HandshakeTests(PlacesCase):
    def test_begun(self) -> None:
        connection = self.plane.connect().send(b"GET /app")
        connection.channel.make_way()
        answer = connection.answer()
        self.assertEqual((answer.status, answer.json["code"]), (408, "timeout"))
        self.assertTrue(connection.closing)

    def test_silent(self) -> None:
        connection = self.plane.connect()
        connection.channel.make_way()
        self.assertEqual(connection.raw(), b"")
        self.assertTrue(connection.closing)

    def test_counted_once(self) -> None:
        self.plane.site.held.bound(Bounds(max_handshakes=1))
        self.plane.connect().send(b"GET /app")
        self.plane.connect()
        counted = [self.plane.metrics.rejected(reason).value for reason in ("timeout_handshakes", "timeout")]
        self.assertEqual(counted, [1, 0])

    def test_finished_with_the_first_head(self) -> None:
        held = self.plane.site.held
        connection = self.plane.connect()
        self.assertEqual((held.handshakes, len(held)), (1, 1))
        connection.send(get())
        self.assertEqual((held.handshakes, len(held)), (0, 1))
        connection.lose()
        self.assertEqual(len(held), 0)

    def test_one_that_cannot_be_read_has_finished_too(self) -> None:
        self.plane.connect().send(b"\0\r\n\r\n")
        self.assertEqual(self.plane.site.held.handshakes, 0)


class AddressTests(PlacesCase):
    def test_one_too_many(self) -> None:
        site = self.plane.site
        site.held.bound(Bounds(per_address=1))
        address = IPv4Address("TCP", "192.168.1.1", 1)
        self.plane.connect()
        self.assertIsNone(site.buildProtocol(address))
        self.assertEqual(self.plane.sample("rejected_total", reason="busy_address"), 1)
        self.assertIsNotNone(site.buildProtocol(IPv4Address("TCP", "192.168.1.2", 1)))
