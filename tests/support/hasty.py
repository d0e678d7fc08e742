"""A reactor whose time flies: real sockets, and deadlines that pass many times as fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer


@implementer(IDelayedCall)
class HastyCall:
    """A delayed call that tells its time as its reactor does."""

    def __init__(self, call: IDelayedCall, pace: float) -> None:
        self._call = call
        self._pace = pace

    def cancel(self) -> None:
        self._call.cancel()

    def active(self) -> bool:
        return self._call.active()

    def getTime(self) -> float:
        return self._call.getTime() * self._pace

    def delay(self, seconds: float) -> None:
        self._call.delay(seconds / self._pace)

    def reset(self, seconds: float) -> None:
        self._call.reset(seconds / self._pace)


@implementer(IReactorTime)
class HastyReactor:
    """*reactor*, but *pace* seconds pass in one."""

    def __init__(self, reactor: Any, pace: float) -> None:
        self._reactor = reactor
        self._pace = pace

    def seconds(self) -> float:
        return float(self._reactor.seconds() * self._pace)

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object
    ) -> IDelayedCall:
        return HastyCall(self._reactor.callLater(delay / self._pace, callable, *args, **kwargs), self._pace)

    def getDelayedCalls(self) -> list[IDelayedCall]:
        return [HastyCall(call, self._pace) for call in self._reactor.getDelayedCalls()]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)
