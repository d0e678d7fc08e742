"""The connections of a listener: who is let in, who goes, and when no more are accepted."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.connections import (
    HANDSHAKES,
    IDLE_S,
    LOOK_S,
    PATIENCE_S,
    PER_ADDRESS,
    Bounds,
    Connections,
)


class StubConnection:
    """Idles since it was made, until :attr:`used`; keeps what it was told."""

    def __init__(self, clock: Clock) -> None:
        self.used = self.stays = False
        self.told: list[str] = []
        self._since_s = clock.seconds()

    @property
    def idle_since_s(self) -> float | None:
        return None if self.used or self.told else self._since_s

    def reap(self) -> bool:
        if not self.stays:
            self.told.append("reap")
        return not self.stays

    def make_way(self) -> None:
        self.told.append("make way")


class ConnectionsCase(SynchronousTestCase):
    """Has the connections of a listener; *rejected* is why some were refused."""

    bounds = Bounds()

    def setUp(self) -> None:
        self.clock = Clock()
        self.rejected: list[str] = []
        self.rooms: list[int] = []
        self.connections: Connections[Any] = Connections(
            "http", self.clock, bounds=self.bounds, rejected=self.rejected.append
        )
        self.connections.on_room = lambda: self.rooms.append(self.connections.room)

    def open(self, host: str | None = None, *, greeted: bool = True) -> StubConnection:
        connection = StubConnection(self.clock)
        self.connections.opened(connection, host)
        if greeted:
            self.connections.greeted(connection)
        return connection


class CapTests(ConnectionsCase):
    bounds = Bounds(max_connections=128)

    def fill(self) -> list[StubConnection]:
        opened = []
        while self.connections.room:
            opened.append(self.open())
            opened[-1].used = True
        return opened

    def test_no_room_at_the_cap(self) -> None:
        with capturedLogs() as logs:
            opened = self.fill()
        self.assertEqual((len(opened), len(self.connections), self.connections.full), (128, 128, True))
        self.assertEqual([each.told for each in opened], [[]] * 128)
        (event,) = logs
        self.assertEqual((event["log_level"], event["log_format"]), (LogLevel.warn, "accepting_paused"))
        self.assertEqual((event["listener"], event["count"]), ("http", 1))

    def test_the_pause_s_end_is_told(self) -> None:
        opened = self.fill()
        with capturedLogs() as logs:
            self.clock.advance(60)
            self.assertEqual(list(logs), [])
            for each in opened[:2]:
                self.connections.closed(each)
            self.clock.advance(5)
        (event,) = logs
        self.assertEqual((event["log_format"], event["seconds"]), ("accepting_paused_ended", 65))

    def test_goes_on_with_some_room(self) -> None:
        """Not with one: accepting would stop and start with every connection."""
        first, second, *_ = self.fill()
        self.rooms.clear()
        self.connections.closed(first)
        self.assertEqual((self.connections.room, self.rooms), (0, []))
        self.connections.closed(second)
        self.assertEqual((self.connections.room, self.rooms), (2, [2]))

    def test_a_cap_of_one(self) -> None:
        self.connections.bound(Bounds(max_connections=1))
        connection = self.open()
        self.assertEqual(self.connections.room, 0)
        self.connections.closed(connection)
        self.assertEqual(self.connections.room, 1)

    def test_a_smaller_cap(self) -> None:
        opened = self.fill()[:64]
        self.connections.bound(Bounds(max_connections=64))
        self.assertEqual(self.connections.room, 0)
        for each in opened:
            self.connections.closed(each)
        self.assertEqual(self.connections.room, 0)
        self.connections.bound(Bounds(max_connections=65))
        self.assertEqual(self.connections.room, 1)

    def test_whoever_accepts_hears_of_a_larger_one(self) -> None:
        self.fill()
        self.rooms.clear()
        self.connections.bound(Bounds(max_connections=256))
        self.assertEqual(self.rooms, [128])

    def test_closed_twice(self) -> None:
        connection = self.open("10.0.0.1")
        for _ in range(2):
            self.connections.closed(connection)
        self.assertEqual(len(self.connections), 0)


class ReapTests(ConnectionsCase):
    bounds = Bounds(max_connections=10)

    def test_none_below_ninety_percent(self) -> None:
        opened = [self.open() for _ in range(8)]
        self.clock.advance(60)
        self.assertEqual([each.told for each in opened], [[]] * 8)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_oldest_first_and_no_more_than_must(self) -> None:
        opened = []
        for _ in range(8):
            opened.append(self.open())
            self.clock.advance(IDLE_S)
        opened[0].used = True
        opened.append(self.open())
        self.assertEqual([each.told for each in opened], [[], ["reap"], *[[]] * 7])
        opened.append(self.open())
        self.clock.advance(LOOK_S)
        self.assertEqual([each.told for each in opened], [[], ["reap"], ["reap"], *[[]] * 7])

    def test_those_that_idle_later_are_found(self) -> None:
        """Nobody tells when one begins to: they are looked for while there are too many."""
        opened = [self.open() for _ in range(9)]
        for each in opened:
            each.used = True
        self.clock.advance(10)
        self.assertEqual([each.told for each in opened], [[]] * 9)
        opened[4].used = False
        self.clock.advance(LOOK_S)
        self.assertEqual(opened[4].told, ["reap"])

    def test_not_while_it_may_be_used_again_at_once(self) -> None:
        opened = [self.open() for _ in range(9)]
        self.clock.advance(IDLE_S - 0.01)
        self.assertEqual([each.told for each in opened], [[]] * 9)
        self.clock.pump([LOOK_S] * 2)
        self.assertEqual([each.told for each in opened], [["reap"], *[[]] * 8])

    def test_one_that_does_not_go_counts_as_there(self) -> None:
        """A request waits in its socket."""
        opened = [self.open() for _ in range(9)]
        opened[0].stays = True
        self.clock.pump([LOOK_S] * 5)
        self.assertEqual(sum(bool(each.told) for each in opened), 0)
        opened[0].stays = False
        self.clock.advance(LOOK_S)
        self.assertEqual(opened[0].told, ["reap"])

    def test_one_that_goes_counts_as_gone(self) -> None:
        opened = [self.open() for _ in range(9)]
        self.clock.pump([LOOK_S] * 20)
        self.assertEqual(sum(bool(each.told) for each in opened), 1)

    def test_one_that_has_gone_does_not_count_for_others(self) -> None:
        """Callers come, idle and go for as long as they like: one goes for each that is too many."""
        opened = [self.open() for _ in range(9)]
        for _ in range(20):
            self.clock.pump([LOOK_S] * 5)
            (gone,) = [each for each in opened if each.told]
            opened.remove(gone)
            self.connections.closed(gone)
            opened.append(self.open())

    def test_nothing_is_timed_when_there_are_few(self) -> None:
        opened = [self.open() for _ in range(9)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.connections.closed(opened[0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closed_it_leaves_nothing(self) -> None:
        for _ in range(9):
            self.open()
        self.connections.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_without_descriptors_some_go_however_few_there_are(self) -> None:
        opened = [self.open() for _ in range(3)]
        self.clock.advance(IDLE_S)
        self.connections.exhausted("Too many open files")
        self.assertEqual([each.told for each in opened], [["reap"], [], []])


class AddressTests(ConnectionsCase):
    bounds = Bounds(per_address=2)

    def test_one_more_is_refused(self) -> None:
        self.open("10.0.0.1")
        self.assertTrue(self.connections.lets_in("10.0.0.1"))
        second = self.open("10.0.0.1")
        with capturedLogs() as logs:
            for _ in range(100):
                self.assertFalse(self.connections.lets_in("10.0.0.1"))
            self.clock.advance(5)
            self.connections.lets_in("10.0.0.1")
            self.clock.pump([5, 5])
        self.assertEqual(
            [(event["log_format"], event["count"]) for event in logs],
            [("connection_refused", each) for each in (1, 99, 1)] + [("connection_refused_ended", 101)],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.rejected, [PER_ADDRESS] * 101)
        self.assertTrue(self.connections.lets_in("10.0.0.2"))
        self.connections.closed(second)
        self.assertTrue(self.connections.lets_in("10.0.0.1"))

    def test_a_network_of_ipv6_is_one_address(self) -> None:
        self.open("2001:db8:1:2::1")
        self.open("2001:db8:1:2:ffff::2")
        self.assertFalse(self.connections.lets_in("2001:db8:1:2::3"))
        self.assertTrue(self.connections.lets_in("2001:db8:1:3::1"))

    def test_ipv4_over_ipv6_is_no_network(self) -> None:
        for host in ("::ffff:10.0.0.1", "10.0.0.1"):
            self.open(host)
        self.assertFalse(self.connections.lets_in("::ffff:10.0.0.1"))
        self.assertTrue(self.connections.lets_in("::ffff:10.0.0.2"))

    def test_a_unix_socket_has_none(self) -> None:
        for host in ("unix", None) * 3:
            self.open(host)
        self.assertTrue(self.connections.lets_in("unix"))
        self.assertTrue(self.connections.lets_in(None))

    def test_nothing_is_kept_of_who_has_gone(self) -> None:
        for number in range(100):
            self.connections.closed(self.open(f"10.0.0.{number}"))
        self.assertEqual(len(self.connections._by_address), 0)

    def test_off_again(self) -> None:
        for _ in range(2):
            self.open("10.0.0.1")
        self.connections.bound(Bounds())
        self.assertTrue(self.connections.lets_in("10.0.0.1"))


class HandshakeTests(ConnectionsCase):
    bounds = Bounds(max_handshakes=2)

    def test_a_burst_waits(self) -> None:
        """Those that were accepted have a moment in any case."""
        first, second = self.open(greeted=False), self.open(greeted=False)
        self.assertEqual((self.connections.handshakes, self.connections.room), (2, 0))
        self.connections.greeted(first)
        self.assertEqual(self.rooms, [1])
        self.assertEqual((first.told, second.told, self.rejected), ([], [], []))

    def test_the_oldest_makes_way(self) -> None:
        first, second = self.open(greeted=False), self.open(greeted=False)
        self.assertEqual(self.connections.room, 0)
        self.clock.advance(PATIENCE_S)
        self.assertEqual(self.rooms, [1], "whoever accepts is told when one is ripe")
        with capturedLogs() as logs:
            self.open(greeted=False)
        self.assertEqual((first.told, second.told), (["make way"], []))
        self.assertEqual((self.rejected, self.connections.handshakes), ([HANDSHAKES], 2))
        self.assertEqual([event["log_format"] for event in logs], ["handshake_given_up"])
        self.assertEqual(len(self.connections), 3, "until it is closed")

    def test_greeted_twice(self) -> None:
        """One that has finished is not in anybody's way."""
        first = self.open(greeted=False)
        for _ in range(2):
            self.connections.greeted(first)
        self.assertEqual((self.connections.handshakes, self.rooms), (0, [2]))

    def test_one_that_is_closed(self) -> None:
        first = self.open(greeted=False)
        self.open(greeted=False)
        self.connections.closed(first)
        self.assertEqual((self.connections.handshakes, self.connections.room), (1, 1))

    def test_room_is_the_smaller_of_both(self) -> None:
        self.connections.bound(Bounds(max_handshakes=10, max_connections=3))
        self.open()
        self.assertEqual(self.connections.room, 2)
        self.connections.bound(Bounds(max_handshakes=1, max_connections=3))
        self.assertEqual(self.connections.room, 1)
