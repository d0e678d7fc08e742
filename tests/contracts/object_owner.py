"""What every IObjectOwner promises; mixed into a SynchronousTestCase for each implementation."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from micronode.errors import ErrorCode, NodeError
from micronode.facets.media import MediaFacet
from micronode.interfaces import IObjectOwner
from tests.support.calls import make_call, operation_of
from tests.support.owners import StubReply, StubStorageOwner

CID = "b3:" + "0" * 64


class ObjectOwnerContract:
    """Subclasses have ``make_owner(reply)``: a new one whose service answers with *reply*."""

    def ask(self, op: str, reply: StubReply | NodeError, **asked: Any) -> Deferred[Any]:
        case: Any = self
        owner = case.make_owner(reply)
        verifyObject(IObjectOwner, owner)
        media = MediaFacet(StubStorageOwner(StubReply()), max_object=1, mismatches=None)
        call = make_call(operation_of(media, op), {"cid": CID})
        waiting: Deferred[Any] = getattr(owner, op)(call, CID, **asked)
        return waiting

    def test_any_status_is_an_answer(self) -> None:
        case: Any = self
        for op in ("get", "head"):
            for status in (200, 206, 304, 404, 416, 500):
                reply = StubReply(status, b"abc")
                case.assertIs(case.successResultOf(self.ask(op, reply, if_none_match='"00"')), reply)
        part = case.successResultOf(self.ask("get", StubReply(206), byte_range="bytes=0-1"))
        case.assertEqual(part.status, 206)

    def test_who_cannot_be_asked(self) -> None:
        case: Any = self
        for op in ("get", "head"):
            waiting = self.ask(op, NodeError(ErrorCode.OWNER_UNAVAILABLE, "down", retry_after_s=1.0))
            error = case.failureResultOf(waiting, NodeError).value
            case.assertIs(error.code, ErrorCode.OWNER_UNAVAILABLE)
