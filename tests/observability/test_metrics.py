"""The metrics: golden names, closed labels, bounded in number, and nothing of them process-wide."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import prometheus_client
import prometheus_client.metrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import ErrorCode
from micronode.lifecycle import State
from micronode.observability.metrics import (
    CONTENT_TYPE,
    FRAME_KINDS,
    KEPT_SERIES,
    MAX_SERIES,
    METHODS,
    OTHER_ROUTE,
    OWNER_OUTCOMES,
    REJECT_REASONS,
    SHARED_STATUSES,
    Metrics,
    method_label,
)
from micronode.observability.series import BUCKETS

#: Each metric there is so far: its type and the labels it may have. Names are golden.
GOLDEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "http_requests_total": ("counter", ("route", "method", "status")),
    "request_latency_seconds": ("histogram", ("route", "method")),
    "request_first_byte_seconds": ("histogram", ("route", "method")),
    "inflight_requests": ("gauge", ("route",)),
    "rejected_total": ("counter", ("reason",)),
    "bytes_total": ("counter", ("ingress", "direction")),
    "oap_connections": ("gauge", ()),
    "oap_streams": ("gauge", ()),
    "oap_frames_total": ("counter", ("direction", "kind")),
    "oap_rejects_total": ("counter", ("reason",)),
    "owner_requests_total": ("counter", ("owner", "outcome")),
    "owner_latency_seconds": ("histogram", ("owner",)),
    "owner_retries_total": ("counter", ("owner",)),
    "owner_breaker_open": ("gauge", ("owner",)),
    "integrity_failure_total": ("counter", ("stage",)),
    "ron_facet_requests_total": ("counter", ("facet", "result")),
    "ready_state": ("gauge", ()),
    "node_state": ("gauge", ("state",)),
    "config_reloads_total": ("counter", ("outcome",)),
    "config_last_reload_timestamp_seconds": ("gauge", ()),
    "service_restarts_total": ("counter", ()),
    "bus_lagged_total": ("counter", ()),
    "reactor_lag_seconds": ("gauge", ()),
    "build_info": ("gauge", ("git_sha", "version")),
}
OWNERS = ("index", "mailbox", "storage", "overlay", "policy")
FACETS = ("graph", "search", "feed", "media", "custom")
ROUTES = tuple(f"facet.op{number}" for number in range(20))
STATUSES = (
    200,
    201,
    204,
    206,
    304,
    400,
    401,
    403,
    404,
    405,
    408,
    409,
    413,
    429,
    431,
    499,
    500,
    502,
    503,
    504,
)


def make_metrics() -> Metrics:
    return Metrics(
        facets=FACETS,
        owners=OWNERS,
        states=[state.value for state in State],
        build={"version": "1", "git_sha": "unknown"},
    )


def samples(metrics: Metrics) -> list[Sample]:
    families = text_string_to_metric_families(metrics.render().decode("utf-8"))
    return [sample for family in families for sample in family.samples]


def use_everything(metrics: Metrics) -> None:
    """Do what a hostile fleet of callers and owners could make of the labels."""
    metrics.add_routes(ROUTES)
    for route, method in product((*ROUTES, OTHER_ROUTE), METHODS):
        metrics.latency(route, method).observe(0.1)
        metrics.first_byte(route, method).observe(0.1)
        for status in STATUSES:
            metrics.requests(route, method, status).inc()
    for code in ErrorCode:
        metrics.reject_oap(code)


class ScrapeTests(SynchronousTestCase):
    """What /metrics answers."""

    def setUp(self) -> None:
        self.metrics = make_metrics()

    def test_names_types_and_labels(self) -> None:
        use_everything(self.metrics)
        text = self.metrics.render().decode("utf-8")
        types = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)
        self.assertEqual(sorted(types), sorted((name, kind) for name, (kind, _) in GOLDEN.items()))
        for name, (kind, labels) in GOLDEN.items():
            shown = {
                "histogram": {f"{name}_bucket", f"{name}_count", f"{name}_sum"},
            }.get(kind, {name})
            for sample in samples(self.metrics):
                if sample.name in shown:
                    self.assertEqual(set(sample.labels) - {"le"}, set(labels), sample.name)

    def test_documented(self) -> None:
        """What ``docs/architecture.rst`` lists is what there is."""
        text = (Path(__file__).parents[2] / "docs" / "architecture.rst").read_text("utf-8")
        section = (
            text.partition("\nMetrics\n-------\n")[2]
            .partition("\n\n\n")[0]
            .partition("\nThe metrics are:\n")[2]
        )
        listed = re.findall(r"``([a-z_]+)(?:\{([a-z_,\s]+)\})?``", section)
        self.assertEqual(
            {name: set(labels.replace(",", " ").split()) for name, labels in listed},
            {name: set(labels) for name, (_, labels) in GOLDEN.items()}
            # Those of a whole node; the metrics take what they are given.
            | {"build_info": {"version", "git_sha", "python", "twisted"}},
        )

    def test_every_series_once(self) -> None:
        use_everything(self.metrics)
        lines = [line.rpartition(" ")[0] for line in self.metrics.render().decode().splitlines()]
        series = [line for line in lines if not line.startswith("#")]
        self.assertEqual(len(series), len(set(series)))

    def test_no_created_series(self) -> None:
        use_everything(self.metrics)
        self.assertNotIn(b"_created", self.metrics.render())

    def test_help(self) -> None:
        """Every metric says what it counts."""
        helps = dict(re.findall(r"^# HELP (\S+) (.*)$", self.metrics.render().decode(), re.M))
        for name in GOLDEN:
            self.assertTrue(helps[name].endswith("."), name)

    def test_content_type(self) -> None:
        self.assertIn(b"version=0.0.4", CONTENT_TYPE)

    def test_buckets(self) -> None:
        """Six with the one of everything, in order."""
        self.metrics.latency("other", "GET").observe(0.05)
        found = [
            (sample.labels["le"], sample.value)
            for sample in samples(self.metrics)
            if sample.name == "request_latency_seconds_bucket"
        ]
        self.assertEqual(len(found), 6)
        self.assertEqual(found[-1][0], "+Inf")
        self.assertEqual([value for _, value in found], [0, 0, 1, 1, 1, 1])
        self.assertEqual(list(BUCKETS), sorted(BUCKETS))


class SeriesTests(SynchronousTestCase):
    """How many series there can be."""

    def setUp(self) -> None:
        self.metrics = make_metrics()

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def test_bounded(self) -> None:
        use_everything(self.metrics)
        count = len(samples(self.metrics))
        self.assertLessEqual(count, MAX_SERIES)
        self.assertGreater(count, MAX_SERIES - 40, "the bound wastes what it has")
        self.assertEqual(MAX_SERIES, 400)

    def test_nothing_is_lost(self) -> None:
        """What has no series of its own is counted among the rest."""
        use_everything(self.metrics)
        found = samples(self.metrics)
        for name, expected in (
            ("http_requests_total", (len(ROUTES) + 1) * len(METHODS) * len(STATUSES)),
            ("request_latency_seconds_count", (len(ROUTES) + 1) * len(METHODS)),
            ("request_first_byte_seconds_count", (len(ROUTES) + 1) * len(METHODS)),
            ("oap_rejects_total", len(ErrorCode)),
        ):
            self.assertEqual(sum(sample.value for sample in found if sample.name == name), expected, name)

    def test_status_of_a_route_without_room(self) -> None:
        """It is told, together with that of others."""
        use_everything(self.metrics)
        rest = self.metrics.requests(ROUTES[-1], "OTHER", 504)
        self.assertIs(rest, self.metrics.requests(ROUTES[-2], "POST", 504))
        self.assertIsNot(rest, self.metrics.requests(ROUTES[-1], "OTHER", 503))
        rest.inc(1000)
        shown = self.value("http_requests_total", route="other", method="OTHER", status="504")
        assert shown is not None
        self.assertGreaterEqual(shown, 1000)

    def test_more_statuses_than_there_is_room_for(self) -> None:
        """As a service of somebody's might answer."""
        use_everything(self.metrics)
        for status in range(520, 600):
            self.metrics.requests(ROUTES[0], "GET", status).inc()
        self.assertLessEqual(len(samples(self.metrics)), MAX_SERIES)
        rest = self.metrics.requests(ROUTES[0], "GET", 599)
        self.assertIs(rest, self.metrics.requests(OTHER_ROUTE, "OTHER", "other"))
        self.assertGreaterEqual(rest.value, 80 - SHARED_STATUSES)

    def test_the_gauge_of_the_rest_comes_back_to_zero(self) -> None:
        use_everything(self.metrics)
        for number in range(400):
            self.metrics.inflight(f"late.{number}").inc()
            self.metrics.inflight(f"late.{number}").dec()
        self.assertEqual(self.value("inflight_requests", route="other"), 0)
        self.assertLessEqual(len(samples(self.metrics)), MAX_SERIES)

    def test_statuses_before_histograms(self) -> None:
        """However many routes were timed before: each of them may have six series that count."""
        self.metrics.add_routes(ROUTES)
        for route, method in product(ROUTES, METHODS):
            self.metrics.first_byte(route, method).observe(0.1)
            self.metrics.latency(route, method).observe(0.1)
        for route in ROUTES:
            for status in (200, 404, 429, 500, 503):
                self.metrics.requests(route, "GET", status).inc()
        for route, status in product(ROUTES, ("404", "500")):
            self.assertEqual(
                self.value("http_requests_total", route=route, method="GET", status=status), 1, route
            )

    def test_latency_before_first_bytes(self) -> None:
        self.metrics.add_routes(ROUTES[:3])
        for number in range(40):
            self.metrics.first_byte(f"unknown.{number}", "GET").observe(0.1)
        for route in ROUTES[:3]:
            self.metrics.latency(route, "GET").observe(0.1)
            self.assertEqual(self.value("request_latency_seconds_count", route=route, method="GET"), 1)

    def test_children_are_kept(self) -> None:
        """A look-up in the library costs more than the increment."""
        self.assertIs(self.metrics.requests("other", "GET", 200), self.metrics.requests("other", "GET", 200))
        self.assertIsNot(
            self.metrics.requests("other", "GET", 200), self.metrics.requests("other", "GET", 201)
        )


class ManyNamesTests(SynchronousTestCase):
    """Names that a configuration may have hundreds of."""

    def test_what_may_happen_leaves_room_for_what_does(self) -> None:
        metrics = make_metrics()
        names = [f"own{number}" for number in range(200)]
        metrics.add_facets(names)
        metrics.add_owners(names)
        metrics.add_routes(f"{name}.call" for name in names)
        self.assertGreater(MAX_SERIES - len(samples(metrics)), KEPT_SERIES - 30)
        metrics.requests("own199.call", "GET", 200).inc()
        found = {"route": "own199.call", "method": "GET", "status": "200"}
        self.assertEqual(metrics.registry.get_sample_value("http_requests_total", found), 1)
        for name in names:
            metrics.latency(f"{name}.call", "GET").observe(0.1)
            metrics.owner_requests(name, "ok").inc()
        self.assertLessEqual(len(samples(metrics)), MAX_SERIES)


class PrewarmTests(SynchronousTestCase):
    """What can happen is shown at zero before it does, so that a rate over a first event is right."""

    def test_at_zero(self) -> None:
        metrics = make_metrics()
        metrics.add_routes(["search.query"])
        expected = [
            *(("inflight_requests", {"route": route}) for route in ("search.query", "other")),
            *(("rejected_total", {"reason": reason}) for reason in REJECT_REASONS),
            *(
                ("bytes_total", {"ingress": door, "direction": direction})
                for door in ("http", "oap")
                for direction in ("in", "out")
            ),
            *(
                ("oap_frames_total", {"direction": direction, "kind": kind})
                for direction in ("in", "out")
                for kind in FRAME_KINDS
            ),
            *(
                ("owner_requests_total", {"owner": owner, "outcome": outcome})
                for owner in OWNERS
                for outcome in OWNER_OUTCOMES
            ),
            *(
                (name, {"owner": owner})
                for name in ("owner_latency_seconds_count", "owner_retries_total", "owner_breaker_open")
                for owner in OWNERS
            ),
            *(
                ("ron_facet_requests_total", {"facet": facet, "result": result})
                for facet in FACETS
                for result in ("ok", "refused", "failed", "cancelled")
            ),
            *(("integrity_failure_total", {"stage": stage}) for stage in ("relay", "put")),
            *(("node_state", {"state": state.value}) for state in State),
            *(
                (name, {})
                for name in ("oap_connections", "oap_streams", "ready_state", "reactor_lag_seconds")
            ),
        ]
        shown = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples(metrics)
        }
        for name, labels in expected:
            self.assertEqual(shown.get((name, tuple(sorted(labels.items())))), 0, (name, labels))

    def test_no_more_than_that(self) -> None:
        """Routes have no latency before they were called."""
        self.assertNotIn("request_latency_seconds_count", {sample.name for sample in samples(make_metrics())})

    def test_build_info(self) -> None:
        found = [sample for sample in samples(make_metrics()) if sample.name == "build_info"]
        self.assertEqual(
            [(sample.value, sample.labels) for sample in found], [(1, {"version": "1", "git_sha": "unknown"})]
        )


class LabelTests(SynchronousTestCase):
    """Labels are from closed sets."""

    def test_methods(self) -> None:
        for method, expected in (
            ("GET", "GET"),
            ("HEAD", "HEAD"),
            ("POST", "POST"),
            ("PUT", "OTHER"),
            ("get", "OTHER"),
            ("", "OTHER"),
            ('GET"} 1\n', "OTHER"),
        ):
            self.assertEqual(method_label(method), expected)

    def test_reasons_are_error_names(self) -> None:
        """Of several bounds that are told as one error, all but two have their name behind the error's."""
        names = {code.value for code in ErrorCode}
        bounds = {reason for reason in REJECT_REASONS if reason not in names}
        self.assertEqual(
            bounds - {"slow_reader", "owner_full"},
            {"busy_node", "busy_subscriptions", "busy_buffers", "busy_address", "timeout_handshakes"},
        )
        self.assertLessEqual(
            {bound.rpartition("_")[0] for bound in bounds - {"slow_reader", "owner_full"}}, names
        )

    def test_oap_rejects(self) -> None:
        metrics = make_metrics()
        metrics.reject_oap(ErrorCode.BAD_FLAGS)
        self.assertEqual(metrics.registry.get_sample_value("oap_rejects_total", {"reason": "bad_flags"}), 1)

    def test_one_state_at_a_time(self) -> None:
        metrics = make_metrics()
        for state in State:
            metrics.enter(state.value)
            shown = {
                sample.labels["state"]: sample.value
                for sample in samples(metrics)
                if sample.name == "node_state"
            }
            self.assertEqual(shown, {each.value: float(each is state) for each in State})


class ProcessTests(SynchronousTestCase):
    """A node never changes its host process."""

    def test_the_library_s_registry_is_left_alone(self) -> None:
        before = prometheus_client.generate_latest()
        switch = prometheus_client.metrics._use_created
        metrics = make_metrics()
        use_everything(metrics)
        metrics.render()
        self.assertEqual(prometheus_client.metrics._use_created, switch)
        names = set(re.findall(rb"^# TYPE (\S+)", prometheus_client.generate_latest(), re.M))
        self.assertEqual(names, set(re.findall(rb"^# TYPE (\S+)", before, re.M)))

    def test_two_nodes(self) -> None:
        first, second = make_metrics(), make_metrics()
        first.oap_streams.inc()
        self.assertEqual(second.registry.get_sample_value("oap_streams"), 0)

    def test_the_registry_keeps_its_samples(self) -> None:
        """Rendering leaves out the times of creation without touching what is counted."""
        metrics = make_metrics()
        metrics.rejected("busy").inc()
        self.assertEqual(metrics.render(), metrics.render())
        self.assertEqual(metrics.registry.get_sample_value("rejected_total", {"reason": "busy"}), 1)
