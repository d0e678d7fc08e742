"""What ``/api/v1/status`` says: how a node is, on one page. The shape is closed (``docs/architecture.rst``).

Made of what the node has at hand, at once: it asks nobody. It names no owner's URL, no caller's address and
nothing that a caller sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import attrs
from twisted.internet.interfaces import IReactorTime

import micronode
from micronode.config.schema import Config
from micronode.observability.metrics import REJECT_REASONS, Metrics
from micronode.observability.probes import Probes
from micronode.observability.version import SERVICE

#: How a reload may end, by which it is counted.
OUTCOMES: Final = ("applied", "unchanged", "refused", "failed")
#: Characters of the reason of the last reload.
_MAX_REASON: Final = 500


class Bound(Protocol):
    """What bounds the calls, or the subscriptions, of a facet."""

    @property
    def in_use(self) -> int:
        """How many there are."""

    @property
    def limit(self) -> int:
        """How many there may be."""


@attrs.frozen(kw_only=True)
class OwnerStatus:
    """One owner service as its client sees it."""

    name: str
    #: ``starting``, ``ok``, ``degraded``, ``down``; ``unwatched``: nobody asks it.
    state: str
    in_flight: int
    limit: int
    #: ``count``: how many URLs it has; ``healthy``: of how many the health check and the calls succeed.
    endpoints: Mapping[str, int]


@attrs.frozen(kw_only=True)
class PolicyStatus:
    """What judges calls."""

    #: ``owners.policy.fail``.
    fail: str
    #: How many decisions are kept.
    known: int
    #: Whether calls go without a fresh answer: the last question, at most a minute ago, had none.
    failing: bool
    #: Why that was, and how many seconds ago; None, where the last question had its answer.
    last_failure: tuple[float, str] | None


@attrs.frozen(kw_only=True)
class ReloadStatus:
    """How a reload ended."""

    #: One of :data:`OUTCOMES`.
    outcome: str
    #: When, in unix time.
    at: float
    #: Why nothing was applied, in a line, or nothing.
    reason: str


@attrs.frozen(kw_only=True)
class Sources:
    """Where the parts of the status come from; each is asked whenever somebody looks."""

    #: The node's state (``starting``, ``running``, ``draining``, ``stopped``).
    state: Callable[[], str]
    config: Callable[[], Config]
    #: Addresses of the listeners that are open, by name.
    listeners: Callable[[], Mapping[str, str]]
    #: By facet.
    gates: Callable[[], Mapping[str, Bound]]
    #: Of facets that have subscriptions, by facet.
    subscriptions: Callable[[], Mapping[str, Bound]]
    owners: Callable[[], Iterable[OwnerStatus]]
    #: How many are open: http, admin, oap.
    connections: Callable[[], Mapping[str, int]]
    #: None: there was none yet.
    last_reload: Callable[[], ReloadStatus | None]
    #: Keys that wait for a restart.
    restart_required: Callable[[], tuple[str, ...]]
    #: Seconds by which the reactor's last timer was late.
    lag_s: Callable[[], float]
    #: The listeners that accept nobody, since they have as many connections as they may.
    paused: Callable[[], Iterable[str]] = tuple
    #: What is held for callers, as it is told.
    buffers: Callable[[], Mapping[str, Any]] = dict
    #: Overload, as it is told.
    overload: Callable[[], Mapping[str, Any]] = dict
    #: None: nothing does.
    policy: Callable[[], PolicyStatus | None] = lambda: None
    #: The phase of the drain, and how many seconds it may last yet; None: there is none.
    drain: Callable[[], tuple[str, float] | None] = lambda: None
    #: The parts that bound work, hold it or wait (:mod:`micronode.concurrency.registry`).
    topology: Callable[[], list[dict[str, Any]]] = list


class Status:
    """Answers ``/api/v1/status``."""

    def __init__(
        self,
        sources: Sources,
        *,
        probes: Probes,
        metrics: Metrics,
        clock: IReactorTime,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """:param clock: tells the time since it was made, in seconds."""
        self._sources = sources
        self._probes = probes
        self._metrics = metrics
        self._clock = clock
        self._since_s = clock.seconds()
        self._started_at = wall_clock()
        self._sha: tuple[Config | None, str] = (None, "")

    def as_dict(self) -> dict[str, Any]:
        """Return the body of ``/api/v1/status``."""
        sources, config = self._sources, self._sources.config()
        _, readiness, _ = self._probes.readyz()
        return {
            "service": SERVICE,
            "version": micronode.__version__,
            "state": sources.state(),
            "drain": _drain(sources.drain()),
            "ready": readiness["ready"],
            "degraded": readiness["degraded"],
            "uptime_s": round(self._clock.seconds() - self._since_s, 3),
            "started_at": _time(self._started_at),
            "listeners": dict(sources.listeners()),
            "config": {
                "sha": self._sha_of(config),
                "profile": config.node.profile,
                "reloads": {name: int(self._metrics.reloads(name).value) for name in OUTCOMES},
                "last_reload": _reload(sources.last_reload()),
                "restart_required": list(sources.restart_required()),
            },
            "gates": _bounds(sources.gates()),
            "subscriptions": _bounds(sources.subscriptions()),
            "owners": [attrs.asdict(owner) for owner in sources.owners()],
            "policy": _policy(sources.policy()),
            "connections": dict(sources.connections()),
            "accepting_paused": list(sources.paused()),
            "oap_streams": int(self._metrics.oap_streams.value),
            "buffers": dict(sources.buffers()),
            "overload": dict(sources.overload()),
            "rejected": {reason: int(self._metrics.rejected(reason).value) for reason in REJECT_REASONS},
            "reactor_lag_s": round(sources.lag_s(), 6),
            "topology": sources.topology(),
        }

    def _sha_of(self, config: Config) -> str:
        # It costs more than all the rest, and a configuration never changes: there is another one.
        if self._sha[0] is not config:
            self._sha = config, config.sha()
        return self._sha[1]


def _bounds(bounds: Mapping[str, Bound]) -> list[dict[str, Any]]:
    return [{"facet": name, "in_use": bound.in_use, "limit": bound.limit} for name, bound in bounds.items()]


def _drain(drain: tuple[str, float] | None) -> dict[str, Any] | None:
    return None if drain is None else {"phase": drain[0], "left_s": round(drain[1], 3)}


def _policy(policy: PolicyStatus | None) -> dict[str, Any] | None:
    if policy is None:
        return None
    last = policy.last_failure
    return {
        "fail": policy.fail,
        "known": policy.known,
        "failing": policy.failing,
        "last_failure": None if last is None else {"ago_s": round(last[0], 3), "reason": last[1]},
    }


def _reload(last: ReloadStatus | None) -> dict[str, Any] | None:
    if last is None:
        return None
    return {"outcome": last.outcome, "at": _time(last.at), "reason": last.reason[:_MAX_REASON]}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
