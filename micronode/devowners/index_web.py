"""The index owner over HTTP: search, resolve, providers, graph.

The shapes are those of ``docs/architecture.rst``, "Owner services".
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred

from micronode.devowners.exchange import Exchange, Owner
from micronode.devowners.index import Index
from micronode.devowners.request import OwnerRequest
from micronode.devowners.storage import is_cid
from micronode.errors import ErrorCode, NodeError

MAX_HITS: Final = 100
MAX_OFFSET: Final = 1_000_000
MAX_PROVIDERS: Final = 100
MAX_HOPS: Final = 3
MAX_NEIGHBORS: Final = 200

#: Runs a function somewhere else than in the reactor's thread, one at a time.
Run = Callable[[Callable[[], Any]], "Deferred[Any]"]

_Asking = Callable[[], Coroutine["Deferred[Any]", Any, dict[str, Any]]]


class Holder(Protocol):
    """A store the index knows of."""

    def find(self, cid: str) -> object | None:
        """Return something if it holds *cid*, else None. Called in the reactor's thread."""


@attrs.frozen
class Provider:
    """A store, as the index lists it."""

    id: str
    region: str
    #: Between 0 and 1; higher is nearer.
    score: float
    store: Holder


class IndexOwner(Owner):
    """Answers for an :class:`~micronode.devowners.index.Index`.

    :param run: where queries run; see :mod:`micronode.devowners.index`.
    :param providers: the stores that objects may be in.
    """

    name = "index"

    def __init__(self, index: Index, run: Run, providers: Sequence[Provider]) -> None:
        super().__init__()
        self._index = index
        self._run = run
        self._providers = sorted(providers, key=lambda provider: -provider.score)

    def find(self, request: OwnerRequest, name: str, keys: list[str]) -> Exchange:
        """Return the exchange for ``/search/…``, ``/resolve/…``, ``/providers/…`` or ``/graph/…``."""
        ask = {
            "search": self._search,
            "resolve": self._resolve,
            "providers": self._list,
            "graph": self._graph,
        }.get(name)
        if ask is None or len(keys) != 1:
            raise NodeError(ErrorCode.NOT_FOUND, "the index has no such path")
        request.allow(b"GET", b"HEAD")
        return _Query(request, name, partial(ask, request, keys[0]))

    async def _search(self, request: OwnerRequest, query: str) -> dict[str, Any]:
        limit = request.integer("limit", default=20, minimum=0, maximum=MAX_HITS)
        offset = request.integer("offset", default=0, minimum=0, maximum=MAX_OFFSET)
        hits, total = await self._ask(request, partial(self._index.search, query, limit=limit, offset=offset))
        return {"query": query, "hits": hits, "total": total}

    async def _resolve(self, request: OwnerRequest, key: str) -> dict[str, Any]:
        scheme, _, name = key.partition(":")
        if is_cid(key):
            return {"key": key, "manifest": key, "providers": await self._known(request, key, MAX_PROVIDERS)}
        if scheme != "name" or not name:
            raise NodeError(ErrorCode.BAD_REQUEST, "a key is name:NAME, or b3: and 64 lower-case hex digits")
        cid = await self._ask(request, partial(self._index.manifest, name))
        if cid is None:
            raise NodeError(ErrorCode.NOT_FOUND, "no such name is known")
        return {"key": key, "manifest": cid, "providers": self._holding(cid, MAX_PROVIDERS)}

    async def _list(self, request: OwnerRequest, cid: str) -> dict[str, Any]:
        if not is_cid(cid):
            raise NodeError(ErrorCode.BAD_REQUEST, "an address is b3: and 64 lower-case hex digits")
        limit = request.integer("limit", default=20, minimum=1, maximum=MAX_PROVIDERS)
        return {"cid": cid, "providers": await self._known(request, cid, limit)}

    async def _graph(self, request: OwnerRequest, node: str) -> dict[str, Any]:
        hops = request.integer("hops", default=1, minimum=1, maximum=MAX_HOPS)
        most = request.integer("max_neighbors", default=50, minimum=1, maximum=MAX_NEIGHBORS)
        found = await self._ask(request, partial(self._index.neighbors, node, hops=hops, max_neighbors=most))
        if found is None:
            raise NodeError(ErrorCode.NOT_FOUND, "no such node is known")
        return {"node": node, "neighbors": found}

    async def _known(self, request: OwnerRequest, cid: str, limit: int) -> list[dict[str, Any]]:
        """Return who holds *cid*; nobody may, but then a document must mention it."""
        providers = self._holding(cid, limit)
        if not providers and not await self._ask(request, partial(self._index.mentions, cid)):
            raise NodeError(ErrorCode.NOT_FOUND, "no such object is known")
        return providers

    def _holding(self, cid: str, limit: int) -> list[dict[str, Any]]:
        held = [provider for provider in self._providers if provider.store.find(cid) is not None]
        return [{"id": each.id, "region": each.region, "score": each.score} for each in held[:limit]]

    async def _ask(self, request: OwnerRequest, query: Callable[[], Any]) -> Any:
        """Run *query* where queries run, unless the caller has gone by the time its turn comes."""

        def ask_if_wanted() -> Any:
            if request.is_over:
                raise NodeError(ErrorCode.CANCELLED, "the caller has gone")
            return query()

        return await self._run(ask_if_wanted)


class _Query(Exchange):
    def __init__(self, request: OwnerRequest, route: str, asking: _Asking) -> None:
        super().__init__(request)
        self.route = route
        self._asking = asking

    def answer(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._answer())

    async def _answer(self) -> None:
        self.request.reply(await self._asking())
