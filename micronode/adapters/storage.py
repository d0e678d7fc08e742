"""The storage owner: objects under the BLAKE3 address of their bytes."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from micronode.adapters.objects import ObjectClient
from micronode.calls.call import Call
from micronode.interfaces import IOwnerReply, IStorageOwner


@implementer(IStorageOwner)
class StorageClient(ObjectClient):
    """See :class:`~micronode.interfaces.IStorageOwner`."""

    def put(self, call: Call, body: IBodyProducer | None, *, content_type: str) -> Deferred[IOwnerReply]:
        """Store *body*."""
        asked = self.terms(call, ("content-type", content_type))
        return self._owner.call(b"POST", b"/o", body=body, **asked)
