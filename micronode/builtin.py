"""The facets of a configuration, each with the clients of its owners; a part of :mod:`micronode.assembly`."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from twisted.internet.interfaces import IReactorTime

from micronode.adapters.index import IndexClient
from micronode.adapters.mailbox import MailboxClient
from micronode.adapters.overlay import OverlayClient
from micronode.adapters.owner import OwnerClient
from micronode.adapters.storage import StorageClient
from micronode.config.schema import Config, OwnFacet
from micronode.custom import make_custom
from micronode.facets.feed import FeedFacet
from micronode.facets.graph import GraphFacet
from micronode.facets.media import MediaFacet
from micronode.facets.objects import Overlay
from micronode.facets.search import SearchFacet
from micronode.facets.subscription import Deliveries
from micronode.interfaces import IFacet
from micronode.observability.metrics import Metrics


@attrs.frozen(kw_only=True)
class Shared:
    """What facets have of their node, whatever is configured."""

    deliveries: Deliveries
    metrics: Metrics
    clock: IReactorTime


def make_facet(name: str, config: Config, owners: Mapping[str, OwnerClient], shared: Shared) -> IFacet:
    """Build the facet *name* of *config*; the clients of *owners* are the registry's."""
    facet = config.facets[name]
    deadline_s = facet.timeout
    if isinstance(facet, OwnFacet):
        return make_custom(name, facet, owners.get(name))
    if name == "search":
        return SearchFacet(IndexClient(owners["index"], deadline_s=deadline_s))
    if name == "graph":
        return GraphFacet(IndexClient(owners["index"], deadline_s=deadline_s))
    if name == "feed":
        mailbox = MailboxClient(owners["mailbox"], deadline_s=deadline_s)
        return FeedFacet(mailbox, shared.deliveries, timeout_s=deadline_s)
    overlay = None
    if "overlay" in owners:
        peers = OverlayClient(owners["overlay"], deadline_s=deadline_s)
        overlay = Overlay(owner=peers, timeout_s=deadline_s, seconds=shared.clock.seconds)
    return MediaFacet(
        StorageClient(owners["storage"], deadline_s=deadline_s),
        overlay=overlay,
        max_object=config.limits.max_object,
        mismatches=shared.metrics.integrity_failures("put"),
    )
