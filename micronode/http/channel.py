"""One HTTP/1.x connection as a whole: when it is read, how long it waits, and how it goes.

What is asked and answered over it is in ``exchanges``, its transport in ``connection``.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from micronode.concurrency import connections
from micronode.concurrency.hangup import Pending
from micronode.concurrency.shutdown import LAST_CALL_S
from micronode.concurrency.timer import EPSILON_S
from micronode.errors import ErrorCode, NodeError
from micronode.http.exchanges import HttpExchanges, State
from micronode.http.limits import MAX_PIPELINED_BYTES
from micronode.http.sink import GONE

#: Seconds within which the reactor reads what its socket has.
_NEXT_READ_S: Final = 0.02


@implementer(IHalfCloseableProtocol)
class HttpChannel(HttpExchanges):
    """One connection, towards its listener."""

    def connectionMade(self) -> None:
        """Start the clock."""
        super().connectionMade()
        # The first head has its deadline from here on: a connection costs as much as a request.
        self._since_s = self._clock.seconds()
        self._head_begun = True
        self._site.opened(self)
        self.settle()

    def readConnectionLost(self) -> None:
        """Take the end of input for the caller's: what runs is cancelled, what is written still leaves.

        A FIN does not tell a caller that has closed from one that only asks nothing more. The second kind is
        so rare that nginx does not wait for it either.
        """
        if self._state is State.CLOSING:
            self._farewell.input_ended()
            return
        self._state = State.CLOSING
        begun = self._request is not None and self._request.sink.started
        self._abandon(GONE)
        if begun:
            # A part must not look whole, to whoever may still read it.
            self.abort()
        else:
            self._end()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Cancel what runs for the caller."""
        self._state = State.CLOSING
        self._lost()
        self._drop()
        self._body = None
        self._complete()
        self._site.closed(self)
        self._abandon(GONE)
        self.flow.detach()
        self._unsent = 0
        self._charge()

    def _greet(self) -> None:
        self._site.held.greeted(self)

    # Deadlines

    def settle(self) -> None:
        """Bring reading and the timer in line with the state."""
        if self._state is State.CLOSING:
            return
        held_up = self._state is State.CALL or self.flow.full or self._rest is not None
        held = len(self._buffer) + self._kept
        if held != self._charged or self._body is not None or self._unsent:
            self._charge()
        if held_up and len(self._buffer) > MAX_PIPELINED_BYTES:
            self._intake.pause()
        elif self._site.buffers.tight and (held_up or (self._idle and self._site.buffers.deaf)):
            self._intake.pause(look=held_up)
        else:
            self._intake.resume()
        self._timer.expect(self._deadline())

    def _deadline(self) -> float | None:
        if self._body is not None:
            assert self._request is not None
            return self._request.began_s + self._settings.deadlines.body_within_s(len(self._body.data))
        if self._state is not State.HEAD or self.flow.full or self._rest is not None:
            return None
        deadlines = self._site.settings.deadlines
        if self._site.draining and not self._unfinished():
            return self._since_s + min(LAST_CALL_S, deadlines.idle_s)
        return self._since_s + (deadlines.read_s if self._head_begun else deadlines.idle_s)

    def _expired(self) -> None:
        deadline = self._deadline()
        if deadline is not None and deadline - self._clock.seconds() > EPSILON_S:
            # A reload has given it more time.
            self._timer.expect(deadline)
        elif self._idle and self._site.buffers.deaf:
            # It is not read, so that it cannot be late.
            self._since_s = self._clock.seconds()
            self._timer.expect(self._deadline())
        elif self._state is State.BODY:
            assert self._request is not None
            self._request.sink.fail(self._settings.deadlines.late_body())
        elif self._unfinished():
            self._refuse_unreadable(self._site.settings.deadlines.late_head())
        elif self._site.draining:
            self._leave()
        else:
            # Nobody asked anything: a browser's spare connection, a port scan, an idle keep-alive.
            self._end()

    def _unfinished(self) -> bool:
        return bool(self._buffer) or self._reader.begun

    @property
    def _idle(self) -> bool:
        """Whether nothing is there of a request. What is begun holds memory until it is whole, or late."""
        return self._state is State.HEAD and not self._unfinished()

    # Towards its listener

    @property
    def idle_since_s(self) -> float | None:
        """Since when it has waited for a next request; None: it does not."""
        used = self._head_begun or self._unfinished() or self.flow.full
        return self._since_s if self._state is State.HEAD and not used else None

    def reap(self) -> bool:
        """Close it: it waits for a next request, and there are too many connections.

        False: a request is there, be it in the socket.
        """
        if self.idle_since_s is None or Pending(self.transport).is_there():
            return False
        self._end(linger=True)
        return True

    def make_way(self) -> None:
        """Close it: its first head is not whole, and others wait for its place."""
        if self._state is not State.HEAD:
            return
        if self._unfinished():
            message = "the head was not whole, and others wait"
            self._refuse_unreadable(NodeError(ErrorCode.TIMEOUT, message, source=connections.SOURCE))
        else:
            self._end(linger=True)

    def make_room(self) -> None:
        """Refuse what was read of a request and is not whole: memory is tight."""
        error = self._site.buffers.refusal()
        if self._state is State.BODY:
            assert self._request is not None
            self._request.sink.fail(error)
        elif self._state is State.HEAD and self._unfinished():
            self._refuse_unreadable(error)

    # Ending

    def drain(self) -> None:
        """Close in a moment if nothing is going on; otherwise a next answer will be the last."""
        if self._state is State.HEAD and not self._unfinished():
            self._since_s = self._clock.seconds()
            self._timer.expect(self._deadline())

    def _leave(self) -> None:
        """Close an idle connection, unless a request is there that the reactor has not told of yet.

        One that comes now is not answered. It is read all the same: its caller sees an end, and no reset.
        """
        if Pending(self.transport).is_there():
            self._timer.expect(self._clock.seconds() + _NEXT_READ_S)
        else:
            self._end(linger=True)

    def give_up(self, error: NodeError, cut: NodeError) -> None:
        """Answer with *error* what is not answered yet, and end; an answer that has begun is cut.

        :param cut: what a request is answered with for which something may have been done.

        A request that the reactor has not told of yet is left to who refuses calls by now.
        """
        request = self._request
        if request is not None:
            running = request.running
            # The answer first: a call that was cancelled would make none, and a caller be told nothing.
            request.sink.fail(cut if request.dispatched else error)
            if running is not None:
                running.cancel()
        elif self._state is State.HEAD and self._unfinished():
            self._refuse_unreadable(error)
        elif self._state is State.HEAD and not Pending(self.transport).is_there():
            self._end()
