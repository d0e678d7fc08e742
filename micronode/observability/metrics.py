"""The node's metrics on a registry of its own; names and labels are golden and never drift.

Labels come from closed sets, and a scrape has :data:`MAX_SERIES` lines at most whatever is asked of the
node. What counts are the plain numbers of :mod:`micronode.observability.series`; the library writes them
down. Everything runs on the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest

from micronode.errors import ErrorCode
from micronode.observability.series import Budget, Child, Counter, Family, Gauge, Histogram

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
#: Any label's value for what has no room of its own.
OTHER: Final = "other"
#: ``route`` of requests that match no operation.
OTHER_ROUTE: Final = OTHER
#: ``method`` of what has no label of its own.
OTHER_METHOD: Final = "OTHER"
METHODS: Final = ("GET", "HEAD", "POST", OTHER_METHOD)
#: Samples of a whole scrape: what a scraper of hundreds of nodes can be asked to keep of each.
MAX_SERIES: Final = 400
#: Of these are kept for what happens: what may happen, and is shown at zero, gets no more than the others.
KEPT_SERIES: Final = 150
#: Of these are kept, as long as its routes are few, for what is asked of a route: its statuses, and how many
#: calls are being worked on. Histograms, of eight series each, take none of it.
ROUTE_SERIES: Final = 6
#: And for the statuses of what has no room, counted for all such routes together.
SHARED_STATUSES: Final = 24
#: What ``rejected_total`` counts: refusals before any work was done, and answers that are not taken.
REJECT_REASONS: Final = (
    *("busy", "busy_node", "busy_subscriptions", "busy_buffers", "busy_address", "rate_limited"),
    "owner_full",
    *("draining", "not_ready", "slow_reader", "body_too_large", "head_too_large"),
    *("timeout", "timeout_handshakes"),
)
#: Frame kinds by direction flag and role.
FRAME_KINDS: Final = ("hello", "start", "data", "end", "event", "error")
#: How a reload ends that was worked on.
RELOAD_OUTCOMES: Final = ("applied", "unchanged", "refused", "failed")
OWNER_OUTCOMES: Final = (
    "ok",
    "client_error",
    "server_error",
    "unavailable",
    "timeout",
    "bad_gateway",
    "cancelled",
)


def method_label(method: str) -> str:
    """Return *method* if it is in the closed set, else :data:`OTHER_METHOD`."""
    return method if method in METHODS else OTHER_METHOD


class Metrics:
    """Every counter, gauge and histogram of one node; a labelled one is called with its labels in order."""

    def __init__(
        self,
        *,
        facets: Iterable[str],
        owners: Iterable[str],
        states: Iterable[str],
        build: dict[str, str],
    ) -> None:
        """:param states: the states of ``node_state``."""
        self.registry = CollectorRegistry()
        self._budget = Budget(MAX_SERIES)
        self._states = tuple(states)
        self._routes: set[str] = set()
        other_request = (OTHER_ROUTE, OTHER_METHOD)
        self.requests = self._counters(
            "http_requests_total",
            "HTTP requests answered.",
            ["route", "method", "status"],
            rest=(*other_request, OTHER),
            coarser=(*other_request, None),
        )
        self.latency = self._histograms(
            "request_latency_seconds",
            "Time from the request's head to the last byte of its answer.",
            ["route", "method"],
            rest=other_request,
        )
        self.first_byte = self._histograms(
            "request_first_byte_seconds",
            "Time from the request's head to the head of its answer.",
            ["route", "method"],
            rest=other_request,
            kept=self._kept_of_first_byte,
        )
        self.inflight = self._gauges("inflight_requests", "Calls being worked on.", ["route"])
        self.rejected = self._counters(
            "rejected_total", "Calls refused before any work, and slow readers cut off.", ["reason"]
        )
        self.bytes = self._counters("bytes_total", "Body bytes moved.", ["ingress", "direction"])
        self.oap_connections = self._gauge("oap_connections", "Open OAP/1 connections.")
        self.oap_streams = self._gauge("oap_streams", "Open OAP/1 streams.")
        self.frames = self._counters("oap_frames_total", "OAP/1 frames.", ["direction", "kind"])
        self.oap_rejects = self._counters(
            "oap_rejects_total", "OAP/1 frames and streams refused.", ["reason"]
        )
        self.owner_requests = self._counters(
            "owner_requests_total", "Requests made of owners.", ["owner", "outcome"]
        )
        self.owner_latency = self._histograms(
            "owner_latency_seconds", "Time to the owner's response head.", ["owner"]
        )
        self.owner_retries = self._counters(
            "owner_retries_total", "Further tries of requests made of owners.", ["owner"]
        )
        self.owner_breaker_open = self._gauges(
            "owner_breaker_open", "1 while no endpoint of an owner is called as calls come.", ["owner"]
        )
        self.integrity_failures = self._counters(
            "integrity_failure_total", "Bodies that did not match their address.", ["stage"]
        )
        self.facet_requests = self._counters(
            "ron_facet_requests_total", "Calls by facet and result.", ["facet", "result"]
        )
        self.ready_state = self._gauge("ready_state", "1 while /readyz answers 200.")
        self._node_state = self._gauges("node_state", "1 for the state the node is in.", ["state"])
        self.reloads = self._counters(
            "config_reloads_total", "Reloads of the configuration by how they ended.", ["outcome"]
        )
        self.last_reload = self._gauge(
            "config_last_reload_timestamp_seconds",
            "Unix time of the last reload that was applied or changed nothing; 0 before.",
        )
        self.service_restarts = self._counters(
            "service_restarts_total", "Parts of the node that failed by a defect and went on.", []
        )()
        self.bus_lagged = self._counters(
            "bus_lagged_total", "Events that listeners of the event bus have lost.", []
        )()
        self.reactor_lag = self._gauge("reactor_lag_seconds", "How late the reactor ran its last timer.")
        info = self._gauges("build_info", "Always 1; the labels say what runs.", sorted(build))
        info(*(build[label] for label in sorted(build))).set(1)
        self._prewarm(facets, owners)

    # Who leaves how much room to whom. Asked when labels are seen for the first time.

    def _kept_of_counters(self) -> int:
        """Leave room for the statuses of what has none."""
        return max(0, SHARED_STATUSES - self.requests.shared)

    def _kept_of_histograms(self) -> int:
        """Leave room for the counters and gauges of all routes, too."""
        counted = len(self.requests) + len(self.inflight)
        return self._kept_of_counters() + max(0, ROUTE_SERIES * len(self._routes) - counted)

    def _kept_of_first_byte(self) -> int:
        """Leave room for the latency of all routes, too: it tells more."""
        missing = max(0, len(self._routes) - len(self.latency))
        return self._kept_of_histograms() + Histogram.series * missing

    def _family(
        self,
        make: type[Child],
        name: str,
        text: str,
        labels: list[str],
        kept: Callable[[], int],
        rest: tuple[str, ...] = (),
        coarser: tuple[str | None, ...] | None = None,
    ) -> Family[Child]:
        family = Family(make, name, text, labels, self._budget, rest or (OTHER,) * len(labels), coarser, kept)
        self.registry.register(family)
        return family

    def _counters(
        self,
        name: str,
        text: str,
        labels: list[str],
        rest: tuple[str, ...] = (),
        coarser: tuple[str | None, ...] | None = None,
    ) -> Family[Counter]:
        return self._family(Counter, name, text, labels, self._kept_of_counters, rest, coarser)

    def _gauges(self, name: str, text: str, labels: list[str]) -> Family[Gauge]:
        return self._family(Gauge, name, text, labels, self._kept_of_counters)

    def _gauge(self, name: str, text: str) -> Gauge:
        return self._gauges(name, text, [])()

    def _histograms(
        self,
        name: str,
        text: str,
        labels: list[str],
        rest: tuple[str, ...] = (),
        kept: Callable[[], int] | None = None,
    ) -> Family[Histogram]:
        return self._family(Histogram, name, text, labels, kept or self._kept_of_histograms, rest)

    def _prewarm(self, facets: Iterable[str], owners: Iterable[str]) -> None:
        """Show what can happen at zero, so that a rate over a first event is right."""
        self.add_routes((OTHER_ROUTE,))
        for reason in REJECT_REASONS:
            self.rejected(reason)
        for ingress in ("http", "oap"):
            for direction in ("in", "out"):
                self.bytes(ingress, direction)
        for direction in ("in", "out"):
            for kind in FRAME_KINDS:
                self.frames(direction, kind)
        for outcome in RELOAD_OUTCOMES:
            self.reloads(outcome)
        self.add_facets(facets)
        self.add_owners(owners)
        for stage in ("relay", "put"):
            self.integrity_failures(stage)
        for state in self._states:
            self._node_state(state)

    def add_facets(self, names: Iterable[str]) -> None:
        """Show the facets *names*, as long as there is room. None is taken back: what was counted stays."""
        for facet in self._with_room(names):
            for result in ("ok", "refused", "failed", "cancelled"):
                self.facet_requests(facet, result)

    def add_owners(self, names: Iterable[str]) -> None:
        """Show the owners *names*, as long as there is room."""
        for owner in self._with_room(names):
            for outcome in OWNER_OUTCOMES:
                self.owner_requests(owner, outcome)
            self.owner_latency(owner)
            self.owner_retries(owner)
            self.owner_breaker_open(owner)

    def add_routes(self, names: Iterable[str]) -> None:
        """Keep room for the operations *names*, and show them, as long as there is room."""
        names = dict.fromkeys(names)
        self._routes.update(names)
        for name in self._with_room(names):
            self.inflight(name)

    def _with_room(self, names: Iterable[str]) -> Iterator[str]:
        return (name for name in names if self._budget.left > KEPT_SERIES)

    def enter(self, state: str) -> None:
        """Show *state* as the one the node is in."""
        for each in self._states:
            self._node_state(each).set(1 if each == state else 0)

    def reject_oap(self, code: ErrorCode) -> None:
        """Count an OAP/1 refusal by its error name (a closed set)."""
        self.oap_rejects(code.value).inc()

    def render(self) -> bytes:
        """Return the Prometheus text of everything, made on the calling thread."""
        return generate_latest(self.registry)
