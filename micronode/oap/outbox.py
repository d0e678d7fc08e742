"""What one connection writes: control first, then the streams by turns, and the bounds of what is unsent.

While the transport takes bytes whoever has some writes them at once. When it is full, control output waits
in a queue of its own, and every stream for its turn (:mod:`micronode.oap.fairness`), whether it has a
producer behind it or a small answer that is all there. When the transport has emptied, the control queue goes
first and then come the turns, until it is full again; there is always one, so that a caller that keeps us
refusing does not keep its own answers from coming.

Reading never stops because our own writes are blocked (a cancel must get through), so a caller that asks and
never reads would otherwise be written to without end. As it is, a stream that waits is open: it has its place
in ``max_inflight`` and its facet's permit, and these bound how many there are. Errors and echoes do not wait
for a turn; when more than 64 KiB of them wait for the transport no more input is handled, so that they are
never lost to a caller that reads, and never pile up for one that does not.

Unsent here are at most 256 KiB: in the transport 64 KiB, and a batch of 16 KiB and one chunk of 64 KiB with
its head, which may come to it before it says that it is full; in the control queue 64 KiB, one error frame,
and one for each open stream.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import INegotiated, IPushProducer, IReactorTime
from zope.interface import implementer

from micronode.concurrency.memory import Buffers, buffered_bytes
from micronode.concurrency.nodelay import send_at_once
from micronode.concurrency.outgoing import Outgoing, Outlet
from micronode.concurrency.stall import StallWatch
from micronode.oap.fairness import Rounds, Sender, Stock

#: Errors and echoes that may wait for a full transport; beyond it, nothing more is done for the caller.
MAX_CONTROL_BYTES: Final = 65_536
#: A batch is handed on when it is this long: larger ones save nothing, and fill the transport unseen.
_BATCH_BYTES: Final = 16_384
#: What the kernel may keep of a connection that it has not sent.
_UNSENT_BYTES: Final = 131_072


def keep_unsent_small(transport: Any) -> None:
    """Tell the kernel to keep little that it has not sent, where it can (TCP on Linux).

    Its send buffer grows to megabytes, and nothing overtakes what is in it.
    """
    # TLS is a layer of its own above the socket's transport.
    below: Any = getattr(transport, "transport", None) if INegotiated.providedBy(transport) else transport
    try:
        below.getHandle().setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    except (AttributeError, OSError):
        # No TCP, or no such option.
        return


@implementer(IPushProducer)
class Outbox:
    """Writes to *transport*, and is the producer registered there.

    :param stall_s: seconds the transport may take no byte while it is full.
    :param min_rate: bytes a second that it has to take then; 0: any number will do.
    :param broken: called without arguments when the caller took no byte for *stall_s*, or too few.
    :param crowded: called without arguments when it becomes :attr:`crowded`.
    :param relieved: called without arguments when it is no longer :attr:`crowded`.
    :param buffers: what waits here, with its streams and in a full transport is charged to it.
    :ivar full: whether the transport has asked for a pause.
    :ivar stock: what the streams hold that wait for their turns.
    """

    def __init__(
        self,
        transport: Any,
        clock: IReactorTime,
        *,
        outgoing: Outgoing,
        stall_s: float,
        min_rate: int = 0,
        broken: Callable[[], None],
        crowded: Callable[[], None],
        relieved: Callable[[], None],
        buffers: Buffers | None = None,
    ) -> None:
        self.full = False
        self.buffers = buffers or Buffers()
        self.stock = Stock()
        self._rounds = Rounds()
        self._crowded = crowded
        self._relieved = relieved
        self._transport = transport
        self._outlet = Outlet(transport, outgoing)
        self._stall_s = stall_s
        self._min_rate = min_rate
        self._watch = StallWatch(clock, transport, broken)
        self._pieces: list[bytes] = []
        self._size = 0
        self._corked = False
        self._open = True
        #: Control output that waits for the transport.
        self._control: list[bytes] = []
        self._control_size = 0
        #: What the transport had when it said that it was full.
        self._unsent = 0
        #: Called when the transport takes bytes again, before the streams have their turns.
        self.on_room: Callable[[], None] | None = None
        keep_unsent_small(transport)
        send_at_once(transport)
        transport.registerProducer(self, True)

    # Writing

    def cork(self) -> None:
        """Collect what is written until :meth:`uncork`."""
        self._corked = True

    def uncork(self) -> None:
        """Hand on what was collected, in one write."""
        self._corked = False
        self._flush()

    def write(self, data: bytes) -> None:
        """Write frames of an answer: only a stream does that, while nobody is :attr:`busy` or in its turn."""
        if self._open:
            self._pieces.append(data)
            self._size += len(data)
            if not self._corked or self._size >= _BATCH_BYTES:
                self._flush()

    def write_control(self, data: bytes) -> None:
        """Write frames that do not wait for a turn: errors, echoes, greetings, farewells, CREDIT."""
        if not self.full:
            self.write(data)
        elif self._open:
            crowded = self.crowded
            self._control.append(data)
            self._control_size += len(data)
            self.buffers.add(len(data))
            if self.crowded and not crowded:
                self._crowded()

    @property
    def crowded(self) -> bool:
        """Whether more than :data:`MAX_CONTROL_BYTES` of errors and echoes wait for the transport."""
        return self._control_size > MAX_CONTROL_BYTES

    def close(self) -> None:
        """Hand on what there is, and write no more; the streams are forgotten.

        What the transport has then stays charged until :meth:`discard`: its caller may be long in reading it.
        """
        if self._open:
            self._take_control()
            self._flush()
            self._outlet.buffered()
            self.discard()
            self._unsent = buffered_bytes(self._transport)
            self.buffers.add(self._unsent)
            # A transport does not close while it has a producer that it paused.
            self._transport.unregisterProducer()

    def discard(self) -> None:
        """The transport is gone."""
        self._open = False
        self._outlet.drop()
        self._watch.close()
        self._pieces.clear()
        self._control.clear()
        self.buffers.add(-self._control_size - self._unsent)
        self._control_size = self._unsent = 0
        self._rounds.clear()
        self.stock.clear()

    def _take_control(self) -> None:
        self._pieces += self._control
        self._size += self._control_size
        self._control.clear()
        self.buffers.add(-self._control_size)
        self._control_size = 0

    def _flush(self) -> None:
        pieces = self._pieces
        if pieces:
            self._watch.written += self._size
            self._pieces = []
            self._size = 0
            self._outlet.write(pieces)

    # Streams

    @property
    def busy(self) -> bool:
        """Whether a stream that has something to send must wait for its turn."""
        return self.full or self._rounds.running

    def withdraw(self, corr_id: int) -> None:
        """Give a stream no more turns; harmless where it waits for none."""
        self._rounds.withdraw(corr_id)

    def offer(self, corr_id: int, stream: Sender) -> None:
        """Give *stream* turns while it has something to send: now, or when the transport takes bytes."""
        if self._open:
            self._rounds.offer(corr_id, stream)
            if not self.busy:
                self._give_turns()

    def _give_turns(self) -> None:
        """Give turns, and hand on what comes of them in few writes."""
        corked, self._corked = self._corked, True
        try:
            self._rounds.run(self._has_room)
        finally:
            self._corked = corked
            if not corked:
                self._flush()

    def _has_room(self) -> bool:
        return not self.full

    # IPushProducer, for the transport

    def pauseProducing(self) -> None:
        """The transport is full: everyone waits."""
        if not self.full and self._open:
            self.full = True
            self._unsent = buffered_bytes(self._transport)
            self.buffers.add(self._unsent)
            self._watch.start(self._stall_s, self._min_rate)

    def resumeProducing(self) -> None:
        """The transport is empty: control, then turns, until it is full again."""
        crowded = self.crowded
        self.full = False
        self.buffers.add(-self._unsent)
        self._unsent = 0
        self._watch.stop()
        # Not handed on yet: it would fill the transport, and the streams have one turn at least.
        self._take_control()
        if self.on_room is not None:
            self.on_room()
        self._give_turns()
        # It may be crowded anew by what came of the turns.
        if crowded and not self.crowded:
            self._relieved()

    def stopProducing(self) -> None:
        """The transport is gone; the protocol hears of it by itself."""
