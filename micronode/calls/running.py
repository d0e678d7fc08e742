"""A call that is being answered, as who dispatched it has it: it may be cancelled, or ended by the node."""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from micronode.errors import NodeError


class Running(Deferred[None]):
    """What a dispatch returns: it tells a caller that has gone from a stray CancelledError.

    It drives the work itself: with ``Deferred.fromCoroutine`` there would be three Deferreds a call for one.

    :ivar caller_gone: it was cancelled.
    :ivar ended: what the node itself ended it for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.caller_gone = False
        self.ended: NodeError | None = None
        self._work: Coroutine[Deferred[Any], Any, None] | None = None
        self._context = copy_context()
        #: What the work waits for; None while it runs.
        self._awaited: Deferred[Any] | None = None

    def run(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        """Do *work*, which awaits Deferreds, and fire when it is over."""
        self._work = work
        self._go_on(None)

    def _go_on(self, result: object) -> None:
        """Go on with the *result* of what the work waited for."""
        self._awaited = None
        work = self._work
        assert work is not None
        try:
            if isinstance(result, Failure):
                awaited = self._context.run(result.throwExceptionIntoGenerator, work)
            else:
                awaited = self._context.run(work.send, result)
        except StopIteration:
            self.callback(None)
        except BaseException:
            self.errback()
        else:
            if not isinstance(awaited, Deferred):
                awaited = fail(TypeError("a handler may await nothing but Deferreds"))
            self._awaited = awaited
            awaited.addBoth(self._go_on)

    def cancel(self) -> None:
        """Abort the work. Unlike any Deferred's, it is over when the work is, not at once."""
        if self.called or self._work is None:
            super().cancel()
            return
        self.caller_gone = True
        self.interrupt()

    def interrupt(self) -> None:
        """Cancel what the work waits for, if it does."""
        if self._awaited is not None:
            self._awaited.cancel()

    @property
    def given_up(self) -> bool:
        """Whether the work was aborted, by the caller or by the node."""
        return self.caller_gone or self.ended is not None

    def end(self, error: NodeError) -> None:
        """Abort the work on the node's behalf; the caller is to be told *error*."""
        self.ended = error
        self.interrupt()
