"""A service of the user's own: what a custom facet passes on, with what every owner is told beside it."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from micronode.adapters.behalf import terms
from micronode.calls.call import Call
from micronode.interfaces import IOwnerClient, IOwnerReply, IUpstream


@implementer(IUpstream)
class UpstreamClient:
    """See :class:`~micronode.interfaces.IUpstream`.

    :param deadline_s: seconds that a call may take up to the head of its answer: its facet's timeout.
    """

    def __init__(self, owner: IOwnerClient, *, deadline_s: float | None = None) -> None:
        self._owner = owner
        self._deadline_s = deadline_s

    def send(
        self,
        call: Call,
        method: bytes,
        target: bytes,
        fields: Sequence[tuple[bytes, bytes]],
        body: IBodyProducer | None,
    ) -> Deferred[IOwnerReply]:
        """Pass a request on; see :class:`~micronode.interfaces.IUpstream`."""
        given = terms(call, self._deadline_s)
        given["headers"] = [*fields, *given["headers"]]
        return self._owner.call(method, target, body=body, **given)
