"""Which owners a configuration has a use for: those that are somewhere, and that an enabled facet asks.

No other is connected to, asked how it is, or shown as missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from micronode.config.members import OWNER_NAMES, Owner
from micronode.config.schema import Config

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
