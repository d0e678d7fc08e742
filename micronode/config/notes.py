"""What is in order and yet of no use: bounds that others are met before, in words for who wrote them.

No contradiction, since a node works with it; but who sets such a bound expects something else of it. Nothing
is said of defaults alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from micronode.config.table import KEYS
from micronode.config.used import tight_owners

if TYPE_CHECKING:
    from micronode.config.schema import Config

#: What the source of a value begins with that nobody has set.
PROFILE: Final = "profile "


def notes(config: Config) -> Iterator[str]:
    """Yield what is to be noted of *config*."""
    yield from tight_owners(config)
    yield from _connections(config)
    yield from _calls(config)


def _connections(config: Config) -> Iterator[str]:
    limits = config.limits
    most = f"limits.max_connections ({limits.max_connections})"
    for name, what in (
        ("per_address", "no address is refused for it"),
        ("max_handshakes", "nobody makes way for it"),
    ):
        bound: int = getattr(limits, name)
        if bound > limits.max_connections and _chosen(config, f"limits.{name}", "limits.max_connections"):
            yield f"limits.{name} ({bound}) is never met, since a listener has {most}: {what}"


def _calls(config: Config) -> Iterator[str]:
    facets = {name: facet for name, facet in config.facets.items() if facet.enabled}
    most, node = config.limits.max_calls, f"limits.max_calls ({config.limits.max_calls})"
    told = "a call too many is counted as busy_node, not busy"
    keys = [f"facets.{name}.limit" for name in facets]
    above = [name for name, facet in facets.items() if facet.limit > most]
    for name in above:
        key = f"facets.{name}.limit"
        if _chosen(config, key, "limits.max_calls"):
            yield f"{key} ({facets[name].limit}) is never met, since the node has {node}: {told}"
    together = sum(facet.limit for facet in facets.values())
    if together > most and not above and _chosen(config, *keys, "limits.max_calls"):
        yield (
            f"the limits of the facets are {together} calls together, and the node's is {node}: it may be met"
            f" before any of them, and then {told}"
        )
    streams = config.limits.max_inflight
    # A stream may also wait for its turn, or be a subscription.
    useful = most + sum(
        facet.queue + (facet.subscriptions if f"facets.{name}.subscriptions" in KEYS else 0)
        for name, facet in facets.items()
    )
    if streams > useful and _chosen(config, "limits.max_inflight", "limits.max_calls"):
        yield (
            f"limits.max_inflight ({streams}) lets one OAP connection have more streams than the node serves,"
            f" lets wait and has subscriptions, all together ({useful}): those beyond are refused with 429"
        )


def _chosen(config: Config, *paths: str) -> bool:
    """Whether the user has set one of *paths*."""
    return any(not config.sources.get(path, PROFILE).startswith(PROFILE) for path in paths)
