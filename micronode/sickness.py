"""What follows from overload in a node: its dispatcher sheds; its metrics, its bus and its log tell."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from micronode.bus import EventBus, HealthChanged
from micronode.calls.dispatcher import Dispatcher
from micronode.concurrency.measure import Level
from micronode.concurrency.overload import Overload
from micronode.observability.metrics import Metrics

_log = Logger()


def make_overload(
    clock: IReactorTime,
    *,
    dispatcher: Dispatcher,
    metrics: Metrics,
    bus: EventBus,
    ready: Callable[[], bool],
) -> Overload:
    """Return what watches the node for overload, once it is given thresholds and runs.

    :param ready: whether the node is ready, all things considered.
    """

    def changed(level: Level, before: Level, reason: str) -> None:
        dispatcher.shed(level, overload.retry_after_s)
        (lag_s, _), (rss, _) = overload.measures["lag"], overload.measures["rss"]
        (_log.warn if level > before else _log.info)(
            "overload",
            shedding=level.label,
            before=before.label,
            reason=reason,
            lag_ms=round(lag_s * 1000, 1),
            rss=rss,
        )
        bus.publish(HealthChanged(name="overload", state=level.label, previous=before.label))

    def turned(fit: bool) -> None:
        metrics.ready_state.set(1 if ready() else 0)
        (_log.info if fit else _log.warn)("readiness", ready=ready(), reason="overload")
        was, now = ("unready", "ready") if fit else ("ready", "unready")
        bus.publish(HealthChanged(name="readiness", state=now, previous=was))

    overload = Overload(clock, changed=changed, turned=turned, beat=metrics.reactor_lag.set)
    return overload
