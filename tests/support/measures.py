"""Metrics for tests, and a way to read one."""

from __future__ import annotations

from micronode.observability.metrics import Metrics


def make_metrics() -> Metrics:
    """Return metrics of a node with every owner and facet."""
    return Metrics(
        facets=("graph", "search", "media"),
        owners=("index", "storage", "policy"),
        states=(),
        build={"version": "0"},
    )


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    """Return the value of one series, 0.0 if it is not there."""
    return metrics.registry.get_sample_value(name, labels) or 0.0
