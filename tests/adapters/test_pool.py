"""micronode.adapters.pool: connections that wait, and how many there may be."""

from __future__ import annotations

import socket

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from micronode.adapters.address import owner_endpoint
from micronode.adapters.connection import OwnerConnection
from micronode.adapters.pool import POOL_IDLE_S, SPARE_CONNECTIONS, ConnectionPool, TooManyConnectionsError
from micronode.config.url import OwnerUrl
from tests.support.network import MemoryNetwork, OwnerEnd


class ConnectionPoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.clock = self.network.reactor
        endpoint = owner_endpoint(self.clock, OwnerUrl.parse("http://10.0.0.9:1"), 2.0)
        self.pool = ConnectionPool(self.clock, endpoint, 2)

    def connect(self) -> tuple[OwnerConnection, OwnerEnd]:
        connecting = self.pool.connect()
        end = self.network.accept()
        return self.successResultOf(connecting), end

    def test_last_come_is_first_used(self) -> None:
        connections = [self.connect()[0] for _ in range(2)]
        self.assertIsNone(self.pool.take())
        for connection in connections:
            self.pool.idle(connection)
        self.assertEqual((self.pool.waiting, self.pool.open), (2, 2))
        self.assertEqual([self.pool.take() for _ in range(3)], [connections[1], connections[0], None])

    def test_more_than_it_keeps(self) -> None:
        made = [self.connect() for _ in range(3)]
        for connection, _ in made:
            self.pool.idle(connection)
        self.assertEqual([end.closed for _, end in made], [True, False, False])
        self.assertEqual((self.pool.waiting, self.pool.open), (2, 2))

    def test_each_has_its_time(self) -> None:
        (first, first_end), (second, second_end) = self.connect(), self.connect()
        self.pool.idle(first)
        self.clock.advance(POOL_IDLE_S - 1)
        self.pool.idle(second)
        self.clock.advance(1)
        self.assertEqual((first_end.disconnecting, second_end.closed), (True, False))
        self.clock.advance(POOL_IDLE_S - 1)
        self.assertTrue(second_end.disconnecting)
        self.clock.advance(0)
        self.assertEqual((self.clock.getDelayedCalls(), self.pool.open), ([], 0))

    def test_time_begins_anew_with_each_use(self) -> None:
        connection, end = self.connect()
        self.pool.idle(connection)
        self.clock.advance(POOL_IDLE_S - 1)
        self.assertIs(self.pool.take(), connection)
        self.pool.idle(connection)
        self.clock.advance(POOL_IDLE_S - 1)
        self.assertFalse(end.closed)
        self.clock.advance(1)
        self.assertTrue(end.closed)

    def test_one_in_use_is_left_alone(self) -> None:
        connection, end = self.connect()
        self.pool.idle(connection)
        self.pool.take()
        self.clock.advance(10 * POOL_IDLE_S)
        self.assertFalse(end.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_idle_tls_is_not_waited_for(self) -> None:
        connection, end = self.connect()
        directlyProvides(end, ISSLTransport)
        connection.wire = end
        self.pool.idle(connection)
        self.clock.advance(POOL_IDLE_S)
        self.assertTrue(end.aborted)

    def test_lost_while_idle(self) -> None:
        connection, end = self.connect()
        self.pool.idle(connection)
        end.hang_up()
        self.assertIsNone(self.pool.take())
        self.assertEqual((self.pool.waiting, self.pool.open), (0, 0))

    def test_bytes_while_idle(self) -> None:
        connection, end = self.connect()
        self.pool.idle(connection)
        end.send(b"HTTP/1.1 408 Timeout\r\n\r\n")
        self.assertIsNone(self.pool.take())
        self.assertTrue(end.aborted)

    def test_something_waits_in_the_socket(self) -> None:
        """Of which the reactor has not told: bytes, or the end."""
        for act in ("nothing", "bytes", "end"):
            ours, theirs = socket.socketpair()
            self.addCleanup(ours.close)
            self.addCleanup(theirs.close)
            connection, end = self.connect()
            end.fileno = ours.fileno  # type: ignore[attr-defined]
            self.pool.idle(connection)
            if act == "bytes":
                theirs.send(b"x")
            elif act == "end":
                theirs.shutdown(socket.SHUT_WR)
            self.assertIs(self.pool.take(), connection if act == "nothing" else None)
            self.assertEqual(end.aborted, act != "nothing")

    def test_bound(self) -> None:
        most = 2 + SPARE_CONNECTIONS
        connecting = [self.pool.connect() for _ in range(most)]
        self.assertEqual(self.pool.open, most)
        self.failureResultOf(self.pool.connect(), TooManyConnectionsError)
        self.assertEqual(self.network.connects, most)
        self.network.refuse()
        self.failureResultOf(connecting[0])
        self.pool.connect()
        self.assertEqual(self.pool.open, most)

    def test_an_idle_one_makes_room(self) -> None:
        made = [self.connect() for _ in range(2 + SPARE_CONNECTIONS)]
        self.pool.idle(made[0][0])
        self.pool.connect()
        self.assertTrue(made[0][1].closed)
        self.assertEqual(self.pool.open, 2 + SPARE_CONNECTIONS)

    def test_killed_ones_do_not_count(self) -> None:
        connection, _ = self.connect()
        connection.kill()
        self.assertEqual(self.pool.open, 0)

    def test_cancelled_connect_does_not_count(self) -> None:
        connecting: Deferred[OwnerConnection] = self.pool.connect()
        connecting.cancel()
        self.failureResultOf(connecting)
        self.assertEqual(self.pool.open, 0)

    # The end

    def test_close(self) -> None:
        made = [self.connect() for _ in range(2)]
        for connection, _ in made:
            self.pool.idle(connection)
        closing = [self.pool.close(), self.pool.close()]
        for each in closing:
            self.assertNoResult(each)
        self.assertTrue(all(end.disconnecting for _, end in made))
        self.network.settle()
        for each in closing:
            self.successResultOf(each)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.pool.close())

    def test_close_cuts_what_does_not_close(self) -> None:
        connection, end = self.connect()
        end.loseConnection = lambda: None  # type: ignore[method-assign]
        self.pool.idle(connection)
        closing = self.pool.close()
        self.clock.advance(1.0)
        self.assertTrue(end.aborted)
        self.network.settle()
        self.successResultOf(closing)

    def test_nothing_closes_for_ever(self) -> None:
        """An owner that answers no close_notify, or takes no more of a request, holds nothing."""

        def too_many() -> None:
            for connection, _ in made:
                self.pool.idle(connection)

        def too_old() -> None:
            self.pool.idle(made[0][0])
            self.clock.advance(POOL_IDLE_S)

        def after_close() -> None:
            self.successResultOf(self.pool.close())
            self.pool.idle(made[0][0])

        def not_kept() -> None:
            made[0][0].part()

        for act in (too_many, too_old, after_close, not_kept):
            self.setUp()
            made = [self.connect() for _ in range(3)]
            end = made[0][1]
            end.loseConnection = lambda: None  # type: ignore[method-assign]
            act()
            self.assertFalse(end.aborted, act.__name__)
            self.clock.advance(0.5)
            made[1][0].part()
            self.clock.advance(0.5)
            self.assertTrue(end.aborted, act.__name__)
            self.assertFalse(made[1][1].aborted, act.__name__)

    def test_each_that_closes_has_its_time(self) -> None:
        made = [self.connect() for _ in range(2)]
        for connection, end in made:
            end.loseConnection = lambda: None  # type: ignore[method-assign]
            connection.part()
            self.clock.advance(0.75)
        self.assertEqual([end.aborted for _, end in made], [True, False])
        self.clock.advance(0.25)
        self.assertEqual([end.aborted for _, end in made], [True, True])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_after_close(self) -> None:
        connection, end = self.connect()
        self.successResultOf(self.pool.close())
        self.pool.idle(connection)
        self.assertTrue(end.disconnecting)
        self.assertEqual(self.pool.waiting, 0)
