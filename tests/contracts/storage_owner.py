"""What every IStorageOwner promises; mixed into a SynchronousTestCase for each implementation."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from micronode.errors import ErrorCode, NodeError
from micronode.facets.media import MediaFacet
from micronode.http.body import BytesBody
from micronode.interfaces import IStorageOwner
from tests.contracts.object_owner import ObjectOwnerContract
from tests.support.calls import make_call, operation_of
from tests.support.owners import StubReply


class StorageOwnerContract(ObjectOwnerContract):
    """As of every owner of objects, and objects can be put there."""

    def put(self, reply: StubReply | NodeError, body: BytesBody | None = None) -> Deferred[Any]:
        case: Any = self
        owner = case.make_owner(reply)
        verifyObject(IStorageOwner, owner)
        call = make_call(operation_of(MediaFacet(owner, max_object=9, mismatches=None), "put"))
        waiting: Deferred[Any] = owner.put(call, body, content_type="text/plain")
        return waiting

    def test_any_status_of_a_put_is_an_answer(self) -> None:
        case: Any = self
        for body in (None, BytesBody(b"abc")):
            for status in (201, 413, 500):
                reply = StubReply(status, b"{}")
                case.assertIs(case.successResultOf(self.put(reply, body)), reply)

    def test_a_put_that_nobody_takes(self) -> None:
        case: Any = self
        waiting = self.put(NodeError(ErrorCode.OWNER_UNAVAILABLE, "down", retry_after_s=1.0))
        error = case.failureResultOf(waiting, NodeError).value
        case.assertIs(error.code, ErrorCode.OWNER_UNAVAILABLE)
