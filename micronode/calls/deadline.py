"""The deadline of a call that is being answered: until the head, and no further.

Used by :mod:`micronode.calls.dispatcher`, which knows what the call and its sink are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from micronode.calls.call import Call
from micronode.concurrency.timeouts import Timeouts
from micronode.concurrency.timer import EPSILON_S
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IResponseSink


class Deadline:
    """The time there is until the head: the facet's from when the request was whole, and the caller's own.

    Once *sink* was started it has nothing to say any more: a body has deadlines of its own.

    :ivar error: why the call was cancelled, where it was too late.
    """

    # Of the few calls that wait for their turn: of no other they are set.
    _patience: IDelayedCall | None = None
    #: When it began to wait, and until when it may.
    _began_s = _until_s = 0.0

    def __init__(self, clock: IReactorTime, timeouts: Timeouts, call: Call, sink: IResponseSink) -> None:
        """:param timeouts: those of the facet's calls."""
        self.error: NodeError | None = None
        self._sink = sink
        self._clock = clock
        self._timeouts = timeouts
        self._call = call
        #: The caller's.
        self._timer: IDelayedCall | None = None
        self._whole = True
        self._cancel: Callable[[], None] | None = None

    def guard(self, cancel: Callable[[], None]) -> None:
        """Begin; *cancel* is called when the time is over, and ends the call that is being answered."""
        self._cancel = cancel
        body_done, caller_s = self._call.body_done, self._call.deadline_s
        if caller_s is not None:
            self._timer = self._clock.callLater(max(0.0, caller_s), self._expire)
        if body_done is None:
            self._timeouts.add(self._time_out)
        else:
            # The body has deadlines of its own (stall, stream_idle); the facet's starts after it.
            self._whole = False
            body_done.addBoth(self._body_done)

    def wait(self, give_up: Callable[[], None]) -> None:
        """Begin to wait for the call's turn; *give_up* is called when half of its time is over.

        So whoever gets a turn has half of it left, at least, and does not ask its owner in vain: where
        owners are slow, turns come when others have used up all of theirs.
        """
        self._began_s = self._clock.seconds()
        given_s, caller_s = self._timeouts.seconds, self._call.deadline_s
        if caller_s is not None:
            given_s = min(given_s, max(0.0, caller_s))
        self._until_s = self._began_s + given_s / 2
        self._patience = self._clock.callLater(given_s / 2, give_up)

    @property
    def waited_too_long(self) -> bool:
        """Whether half of its time is over: of a reactor that was late turns may come before the timer."""
        return self._clock.seconds() - self._until_s > EPSILON_S

    def waited(self) -> Call:
        """Note that the call waits no more.

        :return: the call with the time that it has left, as if its caller had given it no more.
        """
        self._stop_waiting()
        call = self._call
        left_s = call.deadline_s
        if call.body_done is None:
            left_s = self._timeouts.seconds if left_s is None else min(left_s, self._timeouts.seconds)
        if left_s is None:
            # The facet's time begins behind the body.
            return call
        return attrs.evolve(call, deadline_s=left_s - (self._clock.seconds() - self._began_s))

    def stop(self) -> None:
        """The call is over."""
        self._cancel = None
        if self._patience is not None:
            self._stop_waiting()
        self._timeouts.remove(self._time_out)
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _stop_waiting(self) -> None:
        patience, self._patience = self._patience, None
        if patience is not None and patience.active():
            patience.cancel()

    def blamed_for(self, error: Exception) -> Exception:
        """Return why a call failed that ended with *error*.

        :return: ``owner_timeout`` where the time passed after the request was whole, ``timeout`` where it
            passed before; *error* itself where it was in time, or is no answer to the cancel but a defect.
        """
        if self.error is not None and isinstance(error, (CancelledError, NodeError)):
            return self.error
        return error

    def _body_done(self, result: Any) -> Any:
        self._whole = True
        if self._cancel is not None:
            self._timeouts.add(self._time_out)
        return result

    def _time_out(self) -> None:
        self._end(f"the facet's timeout of {self._timeouts.seconds:g} s")

    def _expire(self) -> None:
        self._timer = None
        self._end("the caller's deadline")

    def _end(self, name: str) -> None:
        cancel = self._cancel
        # Once: a second timer must not interrupt a handler that is letting its owner go.
        self.stop()
        if self._sink.started:
            return
        if self._whole:
            self.error = NodeError(
                ErrorCode.OWNER_TIMEOUT, f"the answer did not come within {name}", retry_after_s=1.0
            )
        else:
            self.error = NodeError(ErrorCode.TIMEOUT, "the request was not whole within its deadline")
        if cancel is not None:
            cancel()
