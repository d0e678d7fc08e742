"""What a reload prepares: snapshots of a node's parts, not yet in force. See :mod:`micronode.assembly`."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from micronode.adapters.registry import Prepared as PreparedOwners
from micronode.calls.serving import Serving
from micronode.config.schema import Config
from micronode.http.site import SiteSettings
from micronode.security.identity import Identity
from micronode.security.policy import Policy


@attrs.frozen(kw_only=True)
class PreparedParts:
    """The snapshots of every part."""

    owners: PreparedOwners
    identities: Mapping[str, Identity]
    policy: Policy | None
    serving: Serving
    http: SiteSettings
    facets: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Prepared:
    """All that another configuration needs, not yet in force. It holds nothing."""

    config: Config
    #: None where the configuration, and what its files say, differ in nothing from those in force.
    parts: PreparedParts | None
    #: The keys that name the same file as before, with something else in it.
    rewritten: tuple[str, ...] = ()
