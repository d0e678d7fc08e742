"""The index owner: names, providers, full-text search and the graph. Each call answers JSON."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from micronode.adapters.behalf import terms
from micronode.adapters.request import segment
from micronode.calls.call import Call
from micronode.interfaces import IIndexOwner, IOwnerClient, IOwnerReply


@implementer(IIndexOwner)
class IndexClient:
    """See :class:`~micronode.interfaces.IIndexOwner`.

    :param deadline_s: seconds that a call may take up to the head of its answer: its facet's timeout.
    """

    def __init__(self, owner: IOwnerClient, *, deadline_s: float | None = None) -> None:
        self._owner = owner
        self._deadline_s = deadline_s

    def resolve(self, call: Call, key: str) -> Deferred[IOwnerReply]:
        """Ask what *key* (``name:…`` or ``b3:…``) stands for."""
        return self._get(call, b"/resolve/" + segment(key), [])

    def providers(self, call: Call, cid: str, *, limit: int) -> Deferred[IOwnerReply]:
        """Ask who has the object *cid*."""
        return self._get(call, b"/providers/" + segment(cid), [("limit", str(limit))])

    def search(self, call: Call, query: str, *, limit: int, offset: int) -> Deferred[IOwnerReply]:
        """Ask for the documents that match *query*, best first."""
        bounds = [("limit", str(limit)), ("offset", str(offset))]
        return self._get(call, b"/search/" + segment(query), bounds)

    def neighbors(self, call: Call, node: str, *, hops: int, max_neighbors: int) -> Deferred[IOwnerReply]:
        """Ask for the nodes around *node*."""
        query = [("hops", str(hops)), ("max_neighbors", str(max_neighbors))]
        return self._get(call, b"/graph/" + segment(node), query)

    def _get(self, call: Call, path: bytes, query: Sequence[tuple[str, str]]) -> Deferred[IOwnerReply]:
        return self._owner.call(b"GET", path, query=query, **terms(call, self._deadline_s))
