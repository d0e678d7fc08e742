"""What ``/healthz`` and ``/readyz`` say. Shapes are golden (``docs/architecture.rst``, "The admin plane").

Health is the process alone; readiness is whether a load balancer should send callers here. A dead
owner degrades its facets and leaves readiness be: taking every node of a fleet out because one owner
is down would turn a partial failure into a whole one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from zope.interface import implementer

from micronode.interfaces import IReadinessCheck

#: Every key of ``deps``, in the order it is shown; one without a check is ``disabled``.
DEPS: Final = ("config", "listeners", "index", "mailbox", "storage", "overlay", "policy")
#: What a load balancer is told to wait while the node starts or stops.
RETRY_AFTER_S: Final = 5
#: 2025-01-01: a wall clock before it was never set, and no certificate or token can be judged by it.
_SANE_TIME_S: Final = 1_735_689_600


@implementer(IReadinessCheck)
class Check:
    """A readiness check that asks a function."""

    def __init__(self, name: str, ask: Callable[[], str]) -> None:
        self.name = name
        self._ask = ask

    def state(self) -> str:
        """Return what the function says."""
        return self._ask()


class Probes:
    """Answers the three probe routes of the admin plane."""

    def __init__(
        self,
        *,
        state: Callable[[], str],
        checks: Iterable[IReadinessCheck],
        version: Callable[[], dict[str, Any]],
        event_loop: Callable[[], bool],
        wall_clock: Callable[[], float] = time.time,
        fit: Callable[[], bool] = lambda: True,
        shedding: Callable[[], bool] = lambda: False,
    ) -> None:
        """:param state: the node's state (``starting``, ``running``, ``draining``, ``stopped``).
        :param checks: one for each dependency that exists.
        :param event_loop: whether the reactor has run its timers on time lately.
        :param fit: False while overload has lasted too long for the node to be ready.
        :param shedding: whether calls are refused because of overload.
        """
        self._state = state
        self.watch(checks)
        self._version = version
        self._event_loop = event_loop
        self._wall_clock = wall_clock
        self._fit = fit
        self._shedding = shedding

    def watch(self, checks: Iterable[IReadinessCheck]) -> None:
        """Report *checks* from now on, and no others; those that are none of DEPS where they are not well."""
        self._checks: Mapping[str, IReadinessCheck] = {check.name: check for check in checks}

    def healthz(self) -> tuple[int, dict[str, Any]]:
        """Return status and body of ``/healthz``: the process is alive, nothing else."""
        checks = {
            "event_loop": "ok" if self._event_loop() else "lagging",
            "clock": "ok" if self._wall_clock() >= _SANE_TIME_S else "unset",
        }
        # A lagging loop is alive, and killing the process would not help it: it is shown, not failed.
        return 200, {"ok": True, "checks": checks}

    @property
    def ready(self) -> bool:
        """Whether ``/readyz`` answers 200."""
        return self._state() == "running" and self._fit()

    def readyz(self) -> tuple[int, dict[str, Any], int | None]:
        """Return status, body and Retry-After (seconds, or None) of ``/readyz``."""
        ready = self.ready
        deps = {name: self._checks[name].state() if name in self._checks else "disabled" for name in DEPS}
        others = {name: check.state() for name, check in self._checks.items() if name not in deps}
        body = {
            "ready": ready,
            "state": self._state(),
            "deps": deps,
            "shedding": self._shedding(),
            "degraded": [name for name, state in (deps | others).items() if state not in ("ok", "disabled")],
            "mode": "truthful",
        }
        return (200, body, None) if ready else (503, body, RETRY_AFTER_S)

    def version(self) -> dict[str, Any]:
        """Return the body of ``/version``."""
        return self._version()
