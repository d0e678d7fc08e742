"""Something that is done again and again while the node runs, and outlives its own defects.

Where what is repeated fails, that is logged with its traceback, counted and told, and it is done again at
the next interval: a part of the node that has quietly stopped would be worse than one that complains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger()

#: Called with the name of what crashed, and why in a line.
Crashed: TypeAlias = Callable[[str, str], None]


def untold(name: str, reason: str) -> None:
    """Tell nobody of a crash but the log."""


class Repeater(Service):
    """Calls *act* while it runs: at once, then every *interval_s*, and never twice at a time.

    :param part: what it is part of, for the log and *crashed*; a service's name is its parent's business.
    :param act: may return a Deferred, which is waited for, and cancelled by a stop.
    """

    def __init__(
        self,
        part: str,
        interval_s: float,
        act: Callable[[], Any],
        clock: IReactorTime,
        crashed: Crashed = untold,
    ) -> None:
        self._part = part
        self._interval_s = interval_s
        self._act = act
        self._crashed = crashed
        self._acting: Deferred[Any] | None = None
        self._loop = LoopingCall(self._once)
        self._loop.clock = clock

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        # It never fails: whatever does is caught below.
        self._loop.start(self._interval_s)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()
        if self._acting is not None:
            self._acting.cancel()

    def _once(self) -> Deferred[None]:
        self._acting = acting = maybeDeferred(self._act)

        def ended(_: object) -> None:
            self._acting = None

        return acting.addErrback(self._failed).addCallback(ended)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) and not self.running:
            return
        _log.failure("service_crashed", failure, part=self._part)
        try:
            self._crashed(self._part, f"{type(failure.value).__name__}: {failure.getErrorMessage()}")
        except Exception:
            _log.failure("crash_untold", part=self._part)
