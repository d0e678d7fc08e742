"""Watching an owner: one small question every few seconds, so that ``/readyz`` and the operator know.

It only reports. Calls are still tried on an owner that looks dead, since the probe may be wrong.
"""

from __future__ import annotations

from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from micronode.interfaces import IOwnerClient, IReadinessCheck

_log = Logger()

#: Seconds between two questions: a dead owner shows within a load balancer's usual interval.
INTERVAL_S: Final = 2.0


@implementer(IReadinessCheck)
class OwnerHealth(Service):
    """Asks one owner's ``/readyz`` while it runs; one question at a time."""

    def __init__(self, owner: IOwnerClient, clock: IReactorTime) -> None:
        self.name = owner.name
        self._owner = owner
        self._state = "starting"
        self._asking: Deferred[bool] | None = None
        self._loop = LoopingCall(self._ask)
        self._loop.clock = clock

    def state(self) -> str:
        """Return ``starting`` until the first answer, then ``ok`` or ``down``."""
        return self._state

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._loop.start(INTERVAL_S).addErrback(self._ended)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()
        if self._asking is not None:
            self._asking.cancel()

    def _ask(self) -> Deferred[None]:
        # LoopingCall waits for the Deferred, so a slow owner is never asked twice at once.
        self._asking = maybeDeferred(self._owner.probe, b"/readyz")
        return self._asking.addCallbacks(self._answered, self._unanswered)

    def _unanswered(self, failure: Failure) -> None:
        """Take a probe's end without an answer: cancelled by stopService(), or a defect."""
        if not failure.check(CancelledError):
            _log.failure("probe_failed", failure, owner=self.name)
        self._answered(False)

    def _ended(self, failure: Failure) -> None:
        """The watch itself failed, a defect: nobody knows how the owner is, so it is not "ok"."""
        _log.failure("health_failed", failure, owner=self.name)
        self._state = "down"

    def _answered(self, alive: bool) -> None:
        self._asking = None
        state = "ok" if alive else "down"
        if self.running and state != self._state:
            # The first "ok" is what everybody expects; only a change is news.
            if not (self._state == "starting" and alive):
                log = _log.info if alive else _log.warn
                log("owner_changed", owner=self.name, reason=state)
            self._state = state
