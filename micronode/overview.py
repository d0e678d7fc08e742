"""Where the parts of ``/api/v1/status`` come from: it looks at a node's assembly, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime

from micronode.assembly import Assembly
from micronode.concurrency.backpressure import Gate
from micronode.concurrency.registry import Topology
from micronode.config.reloader import Reloader
from micronode.observability.status import OwnerStatus, PolicyStatus, ReloadStatus, Sources, Status


def make_status(
    parts: Assembly,
    reloader: Reloader,
    topology: Topology,
    *,
    state: Callable[[], str],
    listeners: Callable[[], Mapping[str, str]],
    drain: Callable[[], tuple[str, float] | None],
    clock: IReactorTime,
) -> Status:
    """Return what answers ``/api/v1/status`` for the node that is made of *parts*.

    :param state: where in its life the node is.
    :param listeners: the addresses of those that are open, by name.
    :param drain: its phase, and how many seconds that may last yet; None where there is none.
    """
    sources = Sources(
        state=state,
        config=lambda: parts.config,
        listeners=listeners,
        gates=lambda: gates(parts),
        subscriptions=lambda: slots(parts),
        owners=lambda: owners(parts),
        connections=lambda: {
            "http": parts.http.connections,
            "admin": parts.admin.connections,
            "oap": parts.oap.connections,
        },
        paused=lambda: [
            each.listener for each in (parts.http.held, parts.admin.held, parts.oap.held) if each.full
        ],
        lag_s=lambda: parts.heartbeat.lag_s,
        last_reload=lambda: last_reload(reloader),
        restart_required=lambda: reloader.restart_required,
        buffers=lambda: buffers(parts),
        overload=lambda: overload(parts),
        policy=lambda: policy(parts, clock),
        drain=drain,
        topology=topology.as_list,
    )
    return Status(sources, probes=parts.probes, metrics=parts.metrics, clock=clock)


def gates(parts: Assembly) -> dict[str, Gate]:
    """Return the gates of the facets served, and of those switched off of which calls are under way."""
    bounds = parts.dispatcher.serving.bounds.items()
    return {name: each.gate for name, each in bounds if name in parts.facets or each.gate.in_use}


def slots(parts: Assembly) -> dict[str, Gate]:
    """Return the gates of subscriptions, of facets that have any."""
    subscribing = {operation.facet for operation in parts.dispatcher.table if operation.subscribes}
    bounds = parts.dispatcher.serving.bounds.items()
    return {name: each.slots for name, each in bounds if name in subscribing or each.slots.in_use}


def owners(parts: Assembly) -> Iterator[OwnerStatus]:
    """Yield how the owners are that are configured."""
    health = parts.owners.health
    for name, client in parts.owners.clients.items():
        yield OwnerStatus(
            name=name,
            state=health[name].state() if name in health else "unwatched" if client.serves else "degraded",
            in_flight=client.inflight,
            limit=client.settings.concurrency,
            endpoints={"count": len(client.settings.endpoints), "healthy": client.healthy},
        )


def buffers(parts: Assembly) -> dict[str, Any]:
    """Return what is held for callers."""
    account = parts.buffers
    return {"held": account.held, "limit": account.limit, "tight": account.tight}


def overload(parts: Assembly) -> dict[str, Any]:
    """Return what is refused because the node is sick, and what of: thresholds of 0 watch nothing."""
    watch = parts.overload
    return {
        "shedding": watch.level.label,
        "reason": watch.reason,
        "fit": watch.fit,
        "lag_s": round(watch.measures["lag"][0], 6),
        "lag_threshold_s": watch.measures["lag"][1],
        "rss": int(watch.measures["rss"][0]),
        "rss_threshold": int(watch.measures["rss"][1]),
    }


def policy(parts: Assembly, clock: IReactorTime) -> PolicyStatus | None:
    """Return what judges calls, or None where nothing does."""
    if parts.policy is None:
        return None
    decider = parts.policy.decider
    trouble = decider.trouble
    return PolicyStatus(
        fail=parts.policy.fail,
        known=decider.known,
        failing=decider.failing,
        last_failure=None if trouble is None else (clock.seconds() - trouble.at, trouble.error.message),
    )


def last_reload(reloader: Reloader) -> ReloadStatus | None:
    """Return how the last reload ended, or None before the first."""
    last = reloader.last
    if last is None:
        return None
    return ReloadStatus(outcome=last.outcome.outcome, at=last.at, reason=last.outcome.reason)
