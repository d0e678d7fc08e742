"""Outlets under random histories: the kernel gets what was written, in order and once, whatever it takes.

Two connections share the turns of one reactor. Each writes past its transport and through it, in small
pieces and large ones, closes, half-closes, is lost; its kernel takes all, some or nothing, or is broken. A
model keeps what was written, and is compared after every step.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IPushProducer
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from micronode.concurrency.outgoing import MAX_WAITING_BYTES, Outgoing, Outlet

_which = st.integers(0, 1)
_size = st.one_of(st.integers(0, 40), st.integers(16_000, 17_000), st.integers(60_000, 140_000))
_room = st.sampled_from((0, 1, 3, 20_000, 1 << 20))


class Kernel(FileDescriptor):
    """A transport on a kernel with room for so many bytes; as TCP's, but for the socket."""

    def __init__(self, reactor: Any, connection: Connection) -> None:
        super().__init__(reactor)
        self.connected = 1
        self.room = 1 << 20
        self.taken = b""
        self.is_broken = False
        self.is_gone = False
        self._connection = connection

    def writeSomeData(self, data: bytes) -> int | BaseException:
        assert not self.is_gone, "written to what is closed"
        if self.is_broken:
            return CONNECTION_LOST
        size = min(len(data), self.room)
        self.taken += data[:size]
        self.room -= size
        return size

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self.is_gone = True
        self._connection.lost()


@implementer(IPushProducer)
class Connection:
    """Who writes, as the doors do it."""

    def __init__(self, reactor: Any, outgoing: Outgoing) -> None:
        self.kernel = Kernel(reactor, self)
        self.outlet = Outlet(self.kernel, outgoing)
        self.written = b""
        self.is_paused = False
        #: It closes, or is gone: nothing is written any more.
        self.is_over = False
        #: It is not to get the rest.
        self.is_cut = False
        self.kernel.registerProducer(self, True)

    def pauseProducing(self) -> None:
        self.is_paused = True

    def resumeProducing(self) -> None:
        self.is_paused = False

    def stopProducing(self) -> None:
        """Its end follows."""

    def lost(self) -> None:
        self.is_over = True
        self.is_cut = self.is_cut or self.kernel.taken != self.written
        self.outlet.drop()


class OutletMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.reactor = MemoryReactorClock()
        outgoing = Outgoing(self.reactor)
        self.connections = [Connection(self.reactor, outgoing) for _ in range(2)]
        self.count = 0

    def new(self, size: int) -> bytes:
        """Return bytes that tell where they belong."""
        self.count += 1
        return (b"%d." % self.count * (size // 2 + 1))[:size]

    @rule(which=_which, sizes=st.lists(_size, min_size=1, max_size=4))
    def write(self, which: int, sizes: list[int]) -> None:
        connection = self.connections[which]
        if not connection.is_over:
            pieces = [self.new(size) for size in sizes]
            connection.written += b"".join(pieces)
            connection.outlet.write(pieces)

    @rule(which=_which, size=_size)
    def write_through(self, which: int, size: int) -> None:
        connection = self.connections[which]
        if not connection.is_over:
            data = self.new(size)
            connection.written += data
            connection.outlet.buffered().write(data)

    @rule(which=_which, how=st.sampled_from(("not", "not", "not", "close", "half-close", "lose", "break")))
    def end(self, which: int, how: str) -> None:
        """``lose``: as by an abort, or because nothing could be read; ``break``: the next write finds out."""
        connection = self.connections[which]
        if how == "break":
            connection.kernel.is_broken = True
        elif how == "lose" and not connection.kernel.is_gone:
            self.disconnect(connection)
        elif "close" in how and not connection.is_over:
            connection.is_over = True
            connection.kernel.unregisterProducer()
            transport = connection.outlet.buffered()
            transport.loseConnection() if how == "close" else transport.loseWriteConnection()

    @rule(rooms=st.tuples(_room, _room))
    def turn(self, rooms: tuple[int, int]) -> None:
        """What is due is done first, then those are told whose kernels have room."""
        for connection, room in zip(self.connections, rooms, strict=True):
            connection.kernel.room = room
        self.reactor.advance(0)
        for connection in self.connections:
            kernel = connection.kernel
            if kernel in self.reactor.writers and (kernel.room or kernel.is_broken):
                reason = kernel.doWrite()  # type: ignore[no-untyped-call]
                if reason is not None:
                    self.disconnect(connection)

    @precondition(lambda self: not any(each.kernel.is_broken for each in self.connections))
    @rule()
    def settle(self) -> None:
        """With room enough all arrives, and nobody is left paused."""
        for _ in range(2 + self.count):
            self.turn((1 << 30, 1 << 30))
        for connection in self.connections:
            if not connection.is_cut:
                assert connection.kernel.taken == connection.written
            assert connection.is_over or not connection.is_paused
        assert not self.reactor.getDelayedCalls()

    def disconnect(self, connection: Connection) -> None:
        self.reactor.removeWriter(connection.kernel)
        connection.kernel.connectionLost(Failure(CONNECTION_LOST))

    @invariant()
    def in_order_and_once(self) -> None:
        for connection in getattr(self, "connections", ()):
            assert connection.written.startswith(connection.kernel.taken)
            assert connection.outlet._size <= MAX_WAITING_BYTES
            assert connection.outlet._size == sum(map(len, connection.outlet._pieces))


TestOutlets = OutletMachine.TestCase
TestOutlets.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
