"""The search facet: full-text queries of the index owner. ``specs/oap-1.md`` section 6."""

from __future__ import annotations

from typing import Final

from zope.interface import implementer

from micronode.calls.call import Call, Reply
from micronode.calls.operations import Access, Argument, Operation
from micronode.facets.answers import FOUND
from micronode.facets.replies import json_reply
from micronode.interfaces import IFacet, IIndexOwner
from micronode.oap.wire.profiles import Profile

#: Characters of a query: quoted, its 12 KiB still fit a request line of 16 KiB.
MAX_QUERY: Final = 1024


@implementer(IFacet)
class SearchFacet:
    """See :class:`~micronode.interfaces.IFacet`."""

    name = "search"

    def __init__(self, index: IIndexOwner) -> None:
        self._index = index

    def operations(self) -> tuple[Operation, ...]:
        """``search.query``."""
        return (
            Operation(
                name="search.query",
                facet=self.name,
                method="GET",
                path="/app/search",
                profile=Profile.SEARCH,
                op="query",
                access=Access.READ,
                handler=self._query,
                arguments=(
                    Argument(name="q", required=True, max_length=MAX_QUERY, doc="What to look for."),
                    Argument(name="limit", type=int, default=10, minimum=1, maximum=50, doc="Hits at most."),
                    Argument(
                        name="offset", type=int, default=0, minimum=0, maximum=10_000, doc="Hits to skip."
                    ),
                ),
                summary="Search the index, best hits first.",
                answers=(FOUND,),
            ),
        )

    async def _query(self, call: Call) -> Reply:
        args = call.args
        reply = await self._index.search(call, args["q"], limit=args["limit"], offset=args["offset"])
        return json_reply(reply, "index")
