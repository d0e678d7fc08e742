"""Owners of objects, as far as they are read: storage and the overlay, ``GET`` and ``HEAD /o/{address}``."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import implementer

from micronode.adapters.behalf import Terms, terms
from micronode.adapters.request import segment
from micronode.calls.call import Call
from micronode.interfaces import IObjectOwner, IOwnerClient, IOwnerReply


@implementer(IObjectOwner)
class ObjectClient:
    """See :class:`~micronode.interfaces.IObjectOwner`.

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

    def _object(
        self, method: bytes, call: Call, cid: str, byte_range: str | None, if_none_match: str | None
    ) -> Deferred[IOwnerReply]:
        asked = self.terms(call, ("range", byte_range), ("if-none-match", if_none_match))
        return self._owner.call(method, b"/o/" + segment(cid), **asked)

    def terms(self, call: Call, *fields: tuple[str, str | None]) -> Terms:
        """Return the terms of *call* with those *fields* that are there."""
        asked = terms(call, self._deadline_s)
        asked["headers"] += [
            (name.encode("ascii"), value.encode("ascii")) for name, value in fields if value is not None
        ]
        return asked
