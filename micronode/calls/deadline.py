"""The deadline of a call that is being answered: until the head, and no further.

Used by :mod:`micronode.calls.dispatcher`, which knows what the call and its sink are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from micronode.calls.call import Call
from micronode.concurrency.timeouts import Timeouts
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IResponseSink


class Deadline:
    """The time there is until the head: the facet's from when the request was whole, and the caller's own.

    Once *sink* was started it has nothing to say any more: a body has deadlines of its own.

    :ivar error: why the call was cancelled, where it was too late.
    """

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
        self._queued = False
        self._cancel: Callable[[], None] | None = None

    def guard(self, cancel: Callable[[], None], *, queued: bool = False) -> None:
        """Begin; *cancel* is called when the time is over, and ends the call that is being answered.

        :param queued: it waits for its turn, which it has until :meth:`admitted` no longer than the facet's
            time from now on.
        """
        self._cancel = cancel
        self._queued = queued
        body_done = self._call.body_done
        if self._call.deadline_s is not None:
            self._timer = self._clock.callLater(max(0.0, self._call.deadline_s), self._expire)
        if body_done is None or queued:
            self._timeouts.add(self._time_out)
        if body_done is not None:
            # The body has deadlines of its own (stall, stream_idle); the facet's starts after it.
            self._whole = False
            body_done.addBoth(self._body_done)

    def admitted(self) -> None:
        """Note that a call has waited for its turn. What it has waited is taken from the facet's time."""
        self._queued = False
        if not self._whole:
            self._timeouts.remove(self._time_out)

    def stop(self) -> None:
        """The call is over."""
        self._cancel = None
        self._timeouts.remove(self._time_out)
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

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
        if self._cancel is not None and not self._queued:
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
