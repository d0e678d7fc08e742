"""Which owners a configuration has a use for: those that are somewhere, and that an enabled facet asks.

No other is connected to, asked how it is, or shown as missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from micronode.config.members import OWNER_NAMES, Owner
from micronode.config.schema import KEYS, Config

#: By which facets each owner is asked; the policy owner, about the calls of all.
ASKED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "index": ("graph", "search"),
    "mailbox": ("feed",),
    "storage": ("media",),
    "overlay": ("media",),
}


def used_owners(config: Config) -> dict[str, Owner]:
    """Return the owners that *config* has a use for, by name."""
    return {
        name: config.owners[name]
        for name in OWNER_NAMES
        if config.owners[name].url
        and (name not in ASKED_BY or any(config.facets[each].enabled for each in ASKED_BY[name]))
    }


def tight_owners(config: Config) -> Iterator[str]:
    """Yield, in words, each owner that is full before its facets are, if one of the bounds is no default.

    That is no mistake, and the defaults are so. But who raises a facet's limit expects to serve more by it.
    """
    for name in used_owners(config):
        concurrency = config.owners[name].concurrency
        facets = [each for each in ASKED_BY.get(name, ()) if config.facets[each].enabled]
        limits = {f"facets.{each}.limit": config.facets[each].limit for each in facets}
        own = f"owners.{name}.concurrency"
        chosen = any(KEYS[path].default != bound for path, bound in ({own: concurrency} | limits).items())
        if limits and min(limits.values()) > concurrency and chosen:
            above = " and ".join(f"{path} ({limit})" for path, limit in limits.items())
            yield (
                f"{own} ({concurrency}) is met before {above}: a call too many of the owner is answered"
                " 503 owner_unavailable, not 429 busy"
            )
