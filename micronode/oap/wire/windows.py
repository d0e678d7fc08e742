"""Flow control by windows: who may send how much of a body, and what CREDIT says about it.

Pure counting, the same for both sides: what one calls an :class:`Outflow` is the other's
:class:`Inflow`. Only bytes of bodies count. ``specs/oap-1.md`` section 4.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from micronode.oap.wire.decoder import FrameError
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.frames import EVENT, Control, encode_frame

_UP_TO: Final = Struct(">Q")
#: Bytes of a CREDIT's payload.
CREDIT_BYTES: Final = _UP_TO.size


def credit_frame(corr_id: int, up_to: int) -> bytes:
    """Return a CREDIT: of the stream *corr_id*, or of the connection (0), *up_to* bytes were taken."""
    return encode_frame(EVENT, Control.CREDIT, 0, corr_id, _UP_TO.pack(up_to))


def read_credit(payload: bytes) -> int:
    """Return ``up_to`` of a CREDIT, whose payload has :data:`CREDIT_BYTES`."""
    return int(_UP_TO.unpack(payload)[0])


class Inflow:
    """The bytes of one window at the side that receives them.

    :ivar received: bytes that came, from the first one on.
    :ivar taken: bytes that left this side's buffers again: passed on, or dropped.
    :ivar credited: what the last CREDIT said.
    """

    __slots__ = ("_half", "credited", "received", "taken", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.received = self.taken = self.credited = 0
        self._half = max(1, window // 2)

    def receive(self, size: int) -> bool:
        """Count bytes that came.

        :return: whether they were within the window.
        """
        self.received += size
        return self.received - self.credited <= self.window

    def take(self, size: int) -> bool:
        """Count bytes that were taken.

        :return: whether a CREDIT is :attr:`due`.
        """
        self.taken += size
        return self.due

    @property
    def due(self) -> bool:
        """Whether there is something to credit, and half of the window is used.

        Earlier a CREDIT would only cost a frame. To wait until half of the window was *taken* would be too
        late: what streams hold whose owners stand still may leave less than that to all the others
        (``specs/models/README.md``).
        """
        return self.taken > self.credited and self.received - self.credited >= self._half

    def credit(self) -> int:
        """Return the ``up_to`` of a CREDIT that is sent now."""
        self.credited = self.taken
        return self.credited


class Outflow:
    """The bytes of one window at the side that sends them.

    :ivar sent: bytes that went, from the first one on.
    :ivar credited: what the peer's last CREDIT said.
    """

    __slots__ = ("credited", "sent", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.sent = self.credited = 0

    @property
    def room(self) -> int:
        """How many bytes may be sent now."""
        return self.credited + self.window - self.sent

    def credit(self, up_to: int) -> bool:
        """Take a CREDIT.

        :return: False where it falls, or exceeds what was sent: ``credit_violation``.
        """
        if not self.credited <= up_to <= self.sent:
            return False
        self.credited = up_to
        return True


class RequestWindows:
    """The windows over request bodies of one connection, at the node: what came, and what CREDIT is due.

    Bytes that are dropped (the stream is over, or was refused) are credited to the connection at once, or
    its window would shrink with every cancelled upload. For that the ids of streams that ended before their
    request did are remembered for a while. As many as may be open are enough: a caller sends nothing more
    once it has the terminal frame, so that whatever ended after a stream that it still feeds was open
    beside it.

    :param ack_window: bytes of a stream's window.
    :param conn_window: bytes of the window over all windowed streams.
    :param remembered: how many ended streams are remembered.
    """

    def __init__(self, ack_window: int, conn_window: int, remembered: int) -> None:
        self.ack_window = ack_window
        self._connection = Inflow(conn_window)
        self._connection_due = False
        self._due: dict[int, Inflow] = {}
        self._late: dict[int, None] = {}
        self._remembered = remembered

    def received(self, corr_id: int, flow: Inflow, size: int, *, asking: bool) -> bool:
        """Count body bytes of an open stream.

        :param asking: whether more of the request may come after them; else the stream needs no CREDIT.
        :return: whether the stream's window had room for them.
        :raises FrameError: ``credit_violation``, where the connection's had not.
        """
        self._received(size)
        within = flow.receive(size)
        if asking and flow.due:
            self._due[corr_id] = flow
        return within

    def _received(self, size: int) -> None:
        connection = self._connection
        if not connection.receive(size):
            message = f"more than {connection.window} bytes beyond the connection's CREDIT"
            raise FrameError(ErrorCode.CREDIT_VIOLATION, message)
        self._connection_due = self._connection_due or connection.due

    def taken(self, corr_id: int, flow: Inflow, size: int, *, asking: bool) -> None:
        """Count bytes that the owner took.

        :param asking: whether more of the request may come; else the stream needs no CREDIT.
        """
        if flow.take(size) and asking:
            self._due[corr_id] = flow
        if self._connection.take(size):
            self._connection_due = True

    def over(self, corr_id: int, flow: Inflow, *, asking: bool) -> None:
        """Note that a stream is over: what is held of it is dropped.

        :param asking: whether the caller may not have sent the request's end yet.
        """
        self._due.pop(corr_id, None)
        self._dropped(flow.received - flow.taken)
        if asking:
            self.remember(corr_id)

    def remember(self, corr_id: int) -> None:
        """Credit what still comes for *corr_id*, a stream that is over or was refused."""
        self._late[corr_id] = None
        if len(self._late) > self._remembered:
            del self._late[next(iter(self._late))]

    def is_late(self, corr_id: int) -> bool:
        """Whether what comes for *corr_id*, which is over, is credited."""
        return corr_id in self._late

    def late(self, corr_id: int, size: int, *, ended: bool) -> None:
        """Count body bytes that came for a remembered stream.

        :raises FrameError: as :meth:`received`.
        """
        if ended:
            del self._late[corr_id]
        self._received(size)
        self._dropped(size)

    def _dropped(self, size: int) -> None:
        if size:
            self._connection.take(size)
            self._connection_due = True

    def credits(self) -> bytes:
        """Return the CREDITs that are due, as frames."""
        if not (self._connection_due or self._due):
            return b""
        frames = [credit_frame(corr_id, flow.credit()) for corr_id, flow in self._due.items()]
        self._due.clear()
        if self._connection_due:
            self._connection_due = False
            frames.append(credit_frame(0, self._connection.credit()))
        return b"".join(frames)

    def clear(self) -> None:
        """Forget all: the connection is over."""
        self._due.clear()
        self._late.clear()
        self._connection_due = False
