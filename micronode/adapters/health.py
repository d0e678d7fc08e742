"""Watching an owner: one small question to each endpoint every few seconds.

``/readyz`` and the operator know by it, and calls go to endpoints that answered. They are still tried on an
owner that looks dead altogether, since the probe may be wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from micronode.bus import EventBus, HealthChanged
from micronode.interfaces import IOwnerClient, IReadinessCheck
from micronode.observability.repeating import Crashed, Repeater, untold

_log = Logger()

#: Seconds between two questions: a dead owner shows within a load balancer's usual interval.
INTERVAL_S: Final = 2.0
#: Where an owner is asked, if nothing else is said.
READY_PATH: Final = "/readyz"


@implementer(IReadinessCheck)
class OwnerHealth(Repeater):
    """Asks one owner while it runs; one question at a time.

    :param bus: told of every change that a question brings.
    :param serves: whether its calls succeed: what they tell counts at once, not from the next question.
    :ivar path: where it asks.
    """

    def __init__(
        self,
        owner: IOwnerClient,
        clock: IReactorTime,
        bus: EventBus | None = None,
        crashed: Crashed = untold,
        *,
        path: bytes = READY_PATH.encode("ascii"),
        serves: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(f"health of {owner.name}", INTERVAL_S, self._ask, clock, crashed)
        self.name = owner.name
        self.path = path
        self._owner = owner
        self._serves = serves
        self._state = "starting"
        self._bus = bus or EventBus()

    def state(self) -> str:
        """Return ``starting`` until the first answer, then ``ok``, ``degraded`` or ``down``."""
        return self._state if self._state != "ok" or self._serves() else "degraded"

    async def _asked(self) -> None:
        try:
            state = await self._owner.probe(self.path)
        except Exception:
            # A defect, or the end: nobody knows how the owner is, so it is not "ok".
            self._enter("down")
            raise
        self._enter(state)

    def _ask(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._asked())

    def _enter(self, state: str) -> None:
        previous = self._state
        if not self.running or state == previous:
            return
        self._state = state
        # The first "ok" is what everybody expects; only a change is news.
        if not (previous == "starting" and state == "ok"):
            log = _log.info if state == "ok" else _log.warn
            log("owner_changed", owner=self.name, reason=state)
        self._bus.publish(HealthChanged(name=self._owner.name, state=state, previous=previous))
