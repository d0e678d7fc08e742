"""The node's metrics on a registry of its own; names and labels are golden and never drift.

Labels come from closed sets. Children are looked up once and cached (``labels()`` costs 8 us, a
cached child 2 us). Everything runs on the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric

from micronode.errors import ErrorCode

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
#: ``route`` of requests that match no operation.
OTHER_ROUTE: Final = "other"
METHODS: Final = ("GET", "HEAD", "POST", "OTHER")
#: Six buckets a histogram: 5 ms to 10 s.
BUCKETS: Final = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
#: What ``rejected_total`` counts: refusals before any work was done.
REJECT_REASONS: Final = ("busy", "draining", "not_ready", "body_too_large", "head_too_large", "timeout")
#: Frame kinds by direction flag and role.
FRAME_KINDS: Final = ("hello", "start", "data", "end", "event", "error")
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
    """Return *method* if it is in the closed set, else OTHER."""
    return method if method in METHODS else "OTHER"


class _WithoutCreated:
    """A view of a registry without the ``_created`` series.

    The library's own switch for them is process-wide, and a node never changes its host process.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


class Metrics:
    """Every counter, gauge and histogram of one node."""

    def __init__(
        self,
        *,
        routes: Iterable[str],
        facets: Iterable[str],
        owners: Iterable[str],
        states: Iterable[str],
        build: dict[str, str],
    ) -> None:
        """:param routes: names of operations and admin routes; :data:`OTHER_ROUTE` is added.
        :param states: the states of ``node_state``.
        """
        self._states = tuple(states)
        self.registry = registry = CollectorRegistry()
        self._routes = {*routes, OTHER_ROUTE}
        self._requests = Counter(
            "http_requests_total", "HTTP requests answered.", ["route", "method", "status"], registry=registry
        )
        self._latency = Histogram(
            "request_latency_seconds",
            "Time from the request's head to the last byte of its answer.",
            ["route", "method"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._first_byte = Histogram(
            "request_first_byte_seconds",
            "Time from the request's head to the head of its answer.",
            ["route", "method"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._inflight = Gauge("inflight_requests", "Calls being worked on.", ["route"], registry=registry)
        self._rejected = Counter(
            "rejected_total", "Calls refused before any work.", ["reason"], registry=registry
        )
        self._bytes = Counter("bytes_total", "Body bytes moved.", ["ingress", "direction"], registry=registry)
        self.oap_connections = Gauge("oap_connections", "Open OAP/1 connections.", registry=registry)
        self.oap_streams = Gauge("oap_streams", "Open OAP/1 streams.", registry=registry)
        self._frames = Counter("oap_frames_total", "OAP/1 frames.", ["direction", "kind"], registry=registry)
        self._oap_rejects = Counter(
            "oap_rejects_total", "OAP/1 frames and streams refused.", ["reason"], registry=registry
        )
        self._owner_requests = Counter(
            "owner_requests_total", "Requests made of owners.", ["owner", "outcome"], registry=registry
        )
        self._owner_latency = Histogram(
            "owner_latency_seconds",
            "Time to the owner's response head.",
            ["owner"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._integrity = Counter(
            "integrity_failure_total",
            "Bodies that did not match their address.",
            ["stage"],
            registry=registry,
        )
        self._facet_requests = Counter(
            "ron_facet_requests_total", "Calls by facet and result.", ["facet", "result"], registry=registry
        )
        self.ready_state = Gauge("ready_state", "1 while /readyz answers 200.", registry=registry)
        self._node_state = Gauge(
            "node_state", "1 for the state the node is in.", ["state"], registry=registry
        )
        info = Gauge("build_info", "Always 1; the labels say what runs.", sorted(build), registry=registry)
        info.labels(**build).set(1)

        self.requests = cache(lambda route, method, status: self._requests.labels(route, method, str(status)))
        self.latency = cache(self._latency.labels)
        self.first_byte = cache(self._first_byte.labels)
        self.inflight = cache(self._inflight.labels)
        self.rejected = cache(self._rejected.labels)
        self.bytes = cache(self._bytes.labels)
        self.frames = cache(self._frames.labels)
        self.oap_rejects = cache(self._oap_rejects.labels)
        self.owner_requests = cache(self._owner_requests.labels)
        self.owner_latency = cache(self._owner_latency.labels)
        self.integrity_failures = cache(self._integrity.labels)
        self.facet_requests = cache(self._facet_requests.labels)
        self._prewarm(facets, owners)

    def _prewarm(self, facets: Iterable[str], owners: Iterable[str]) -> None:
        """Show what can happen at zero, so that a rate over a first event is right."""
        for route in self._routes:
            self.inflight(route)
        for reason in REJECT_REASONS:
            self.rejected(reason)
        for ingress in ("http", "oap"):
            for direction in ("in", "out"):
                self.bytes(ingress, direction)
        for direction in ("in", "out"):
            for kind in FRAME_KINDS:
                self.frames(direction, kind)
        for facet in facets:
            for result in ("ok", "refused", "failed", "cancelled"):
                self.facet_requests(facet, result)
        for owner in owners:
            for outcome in OWNER_OUTCOMES:
                self.owner_requests(owner, outcome)
            self.owner_latency(owner)
        self.integrity_failures("relay")
        for state in self._states:
            self._node_state.labels(state)

    def route_label(self, name: str | None) -> str:
        """Return *name* if it is a known route, else :data:`OTHER_ROUTE`."""
        return name if name in self._routes else OTHER_ROUTE

    def enter(self, state: str) -> None:
        """Show *state* as the one the node is in."""
        for each in self._states:
            self._node_state.labels(each).set(1 if each == state else 0)

    def reject_oap(self, code: ErrorCode) -> None:
        """Count an OAP/1 refusal by its error name (a closed set)."""
        self.oap_rejects(code.value).inc()

    def render(self) -> bytes:
        """Return the Prometheus text of everything, made on the calling thread."""
        return generate_latest(_WithoutCreated(self.registry))
