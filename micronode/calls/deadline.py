"""The deadline of a call that is being answered: until the head, and no further.

Used by :mod:`micronode.calls.dispatcher`, which knows what the call and its sink are.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from micronode.calls.call import Call
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IResponseSink


class Deadline:
    """The time there is until the head: the facet's from when the request was whole, and the caller's own.

    Once *sink* was started it has nothing to say any more: a body has deadlines of its own.

    :ivar error: why the call was cancelled, where it was too late.
    """

    def __init__(self, clock: IReactorTime, timeout_s: float, call: Call, sink: IResponseSink) -> None:
        self.error: NodeError | None = None
        self._sink = sink
        self._clock = clock
        self._timeout_s = timeout_s
        self._call = call
        self._timers: list[IDelayedCall] = []
        self._whole = True
        self._answering: Deferred[None] | None = None

    async def keep(self, answering: Deferred[None]) -> None:
        """Wait for *answering*, which is cancelled when the time is over.

        :raises NodeError: ``owner_timeout`` when the time passed after the request was whole, ``timeout``
            when it passed before.
        """
        self._guard(answering)
        try:
            await answering
        except (CancelledError, NodeError):
            if self.error is None:
                raise
        finally:
            self._stop()
        if self.error is not None:
            raise self.error

    def _guard(self, answering: Deferred[None]) -> None:
        if answering.called:
            return
        self._answering = answering
        body_done = self._call.body_done
        if self._call.deadline_s is not None:
            self._start(max(0.0, self._call.deadline_s))
        if body_done is None:
            self._start(self._timeout_s)
        else:
            # The body has deadlines of its own (stall, stream_idle); the facet's starts after it.
            self._whole = False
            body_done.addBoth(self._body_done)

    def _stop(self) -> None:
        self._answering = None
        timers, self._timers = self._timers, []
        for timer in timers:
            if timer.active():
                timer.cancel()

    def _body_done(self, result: Any) -> Any:
        self._whole = True
        if self._answering is not None:
            self._start(self._timeout_s)
        return result

    def _start(self, seconds: float) -> None:
        self._timers.append(self._clock.callLater(seconds, self._expire))

    def _expire(self) -> None:
        answering = self._answering
        # Once: a second timer must not interrupt a handler that is letting its owner go.
        self._stop()
        if self._sink.started:
            return
        if self._whole:
            self.error = NodeError(
                ErrorCode.OWNER_TIMEOUT, "the owner did not answer in time", retry_after_s=1.0
            )
        else:
            self.error = NodeError(ErrorCode.TIMEOUT, "the request was not whole within its deadline")
        if answering is not None:
            answering.cancel()
