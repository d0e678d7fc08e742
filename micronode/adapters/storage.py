"""The storage owner: objects under the BLAKE3 address of their bytes."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from micronode.adapters.behalf import Terms, terms
from micronode.adapters.request import segment
from micronode.calls.call import Call
from micronode.interfaces import IOwnerClient, IOwnerReply, IStorageOwner


@implementer(IStorageOwner)
class StorageClient:
    """See :class:`~micronode.interfaces.IStorageOwner`.

    :param deadline_s: seconds that a call may take up to the head of its answer: its facet's timeout.
    """

    def __init__(self, owner: IOwnerClient, *, deadline_s: float | None = None) -> None:
        self._owner = owner
        self._deadline_s = deadline_s

    def get(
        self, call: Call, cid: str, *, byte_range: str | None = None, if_none_match: str | None = None
    ) -> Deferred[IOwnerReply]:
        """Ask for the object *cid*, or for one range of it."""
        return self._object(b"GET", call, cid, byte_range, if_none_match)

    def head(self, call: Call, cid: str, *, if_none_match: str | None = None) -> Deferred[IOwnerReply]:
        """Ask for the size and type of the object *cid*."""
        return self._object(b"HEAD", call, cid, None, if_none_match)

    def put(self, call: Call, body: IBodyProducer | None, *, content_type: str) -> Deferred[IOwnerReply]:
        """Store *body*."""
        asked = self._terms(call, ("content-type", content_type))
        return self._owner.call(b"POST", b"/o", body=body, **asked)

    def _object(
        self, method: bytes, call: Call, cid: str, byte_range: str | None, if_none_match: str | None
    ) -> Deferred[IOwnerReply]:
        asked = self._terms(call, ("range", byte_range), ("if-none-match", if_none_match))
        return self._owner.call(method, b"/o/" + segment(cid), **asked)

    def _terms(self, call: Call, *fields: tuple[str, str | None]) -> Terms:
        """Return the terms of *call* with those *fields* that are there."""
        asked = terms(call, self._deadline_s)
        asked["headers"] += [
            (name.encode("ascii"), value.encode("ascii")) for name, value in fields if value is not None
        ]
        return asked
