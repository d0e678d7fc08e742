"""The graph facet: names, providers and neighbours, from the index owner. ``specs/oap-1.md`` section 6."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from zope.interface import implementer

from micronode.calls.answers import Answer
from micronode.calls.call import Call, Reply
from micronode.calls.operations import Access, Argument, Operation
from micronode.errors import ErrorCode, NodeError
from micronode.facets.answers import CID, KEY, NEIGHBORS, PROVIDERS, RESOLVED
from micronode.facets.cid import parse_cid
from micronode.facets.replies import json_reply
from micronode.interfaces import IFacet, IIndexOwner
from micronode.oap.wire.profiles import Profile

#: Characters of a key or a node's name; see :data:`micronode.facets.search.MAX_QUERY`.
MAX_KEY: Final = 1024
_KEY_KINDS: Final = ("name:", "b3:")
_UNKNOWN_KEY: Final = {ErrorCode.NOT_FOUND: "the index knows no such key"}
_UNKNOWN_CID: Final = {ErrorCode.NOT_FOUND: "the index knows no such object"}
_UNKNOWN_NODE: Final = {ErrorCode.NOT_FOUND: "the graph has no such node"}


@implementer(IFacet)
class GraphFacet:
    """See :class:`~micronode.interfaces.IFacet`."""

    name = "graph"

    def __init__(self, index: IIndexOwner) -> None:
        self._index = index

    def operations(self) -> tuple[Operation, ...]:
        """``graph.resolve``, ``graph.providers``, ``graph.neighbors``."""
        return (
            self._operation(
                "resolve",
                "/app/graph/resolve/{key}",
                self._resolve,
                Argument(
                    name="key", required=True, max_length=MAX_KEY, pattern=KEY, doc="`name:…` or `b3:…`."
                ),
                summary="Look up what a name or an address stands for.",
                answer=RESOLVED,
            ),
            self._operation(
                "providers",
                "/app/graph/providers/{cid}",
                self._providers,
                Argument(
                    name="cid", required=True, max_length=MAX_KEY, pattern=CID, doc="`b3:` and 64 hex digits."
                ),
                Argument(name="limit", type=int, default=10, minimum=1, maximum=50, doc="Providers at most."),
                summary="List who has an object.",
                answer=PROVIDERS,
            ),
            self._operation(
                "neighbors",
                "/app/graph/neighbors/{node}",
                self._neighbors,
                Argument(name="node", required=True, max_length=MAX_KEY, doc="The node's id."),
                Argument(name="hops", type=int, default=1, minimum=1, maximum=3, doc="Edges at most."),
                Argument(
                    name="max_neighbors", type=int, default=50, minimum=1, maximum=200, doc="Nodes at most."
                ),
                summary="Walk the graph around a node.",
                answer=NEIGHBORS,
            ),
        )

    def _operation(
        self,
        op: str,
        path: str,
        handler: Callable[[Call], Awaitable[Reply]],
        *arguments: Argument,
        summary: str,
        answer: Answer,
    ) -> Operation:
        return Operation(
            name=f"graph.{op}",
            facet=self.name,
            method="GET",
            path=path,
            profile=Profile.GRAPH,
            op=op,
            access=Access.READ,
            handler=handler,
            arguments=arguments,
            summary=summary,
            answers=(answer,),
            errors=(ErrorCode.NOT_FOUND,),
        )

    async def _resolve(self, call: Call) -> Reply:
        key = call.args["key"]
        if not key.startswith(_KEY_KINDS):
            raise NodeError(
                ErrorCode.BAD_REQUEST, "argument 'key' is 'name:' and a name, or 'b3:' and a digest"
            )
        return json_reply(await self._index.resolve(call, key), "index", _UNKNOWN_KEY)

    async def _providers(self, call: Call) -> Reply:
        cid = call.args["cid"]
        parse_cid(cid)
        reply = await self._index.providers(call, cid, limit=call.args["limit"])
        return json_reply(reply, "index", _UNKNOWN_CID)

    async def _neighbors(self, call: Call) -> Reply:
        args = call.args
        reply = await self._index.neighbors(
            call, args["node"], hops=args["hops"], max_neighbors=args["max_neighbors"]
        )
        return json_reply(reply, "index", _UNKNOWN_NODE)
