"""The storage owner: objects under the BLAKE3 address of their bytes."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from micronode.adapters.request import call_headers, segment
from micronode.calls.call import Call
from micronode.interfaces import IOwnerClient, IOwnerReply, IStorageOwner


@implementer(IStorageOwner)
class StorageClient:
    """See :class:`~micronode.interfaces.IStorageOwner`."""

    def __init__(self, owner: IOwnerClient) -> None:
        self._owner = owner

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
        headers = [*call_headers(call), (b"content-type", content_type.encode("ascii"))]
        return self._owner.call(b"POST", b"/o", headers=headers, body=body)

    def _object(
        self, method: bytes, call: Call, cid: str, byte_range: str | None, if_none_match: str | None
    ) -> Deferred[IOwnerReply]:
        headers = call_headers(call)
        if byte_range is not None:
            headers.append((b"range", byte_range.encode("ascii")))
        if if_none_match is not None:
            headers.append((b"if-none-match", if_none_match.encode("ascii")))
        return self._owner.call(method, b"/o/" + segment(cid), headers=headers)
