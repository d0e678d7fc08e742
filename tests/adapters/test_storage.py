"""micronode.adapters.storage: what is asked of the storage owner."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.adapters.storage import StorageClient
from micronode.errors import NodeError
from micronode.facets.media import MediaFacet
from micronode.interfaces import IStorageOwner
from tests.adapters.test_owner import SpyBody
from tests.contracts.storage_owner import StorageOwnerContract
from tests.support.calls import make_call, operation_of
from tests.support.owners import StubOwnerClient, StubReply, StubStorageOwner

CID = "b3:" + "0" * 64
PATH = b"/o/b3%3A" + b"0" * 64
REQUEST_ID = (b"x-request-id", b"r-1")


class StorageClientTests(SynchronousTestCase):
    def test_interfaces(self) -> None:
        verifyObject(IStorageOwner, StorageClient(StubOwnerClient("storage")))
        verifyObject(IStorageOwner, StubStorageOwner(StubReply()))

    def test_requests(self) -> None:
        owner = StubOwnerClient("storage")
        storage, body = StorageClient(owner, deadline_s=3.0), SpyBody()
        media = MediaFacet(storage, max_object=100, mismatches=None)
        call, put = (make_call(operation_of(media, op), {"cid": CID}) for op in ("get", "put"))
        storage.get(call, CID)
        storage.get(call, CID, byte_range="bytes=0-9", if_none_match='"00"')
        storage.head(call, CID)
        storage.head(call, CID, if_none_match='"00"')
        storage.put(put, body, content_type="text/plain")
        storage.put(put, None, content_type="text/plain")
        self.assertEqual(
            [(made["method"], made["path"], made["headers"], made["body"]) for made in owner.calls],
            [
                (b"GET", PATH, [REQUEST_ID], None),
                (b"GET", PATH, [REQUEST_ID, (b"range", b"bytes=0-9"), (b"if-none-match", b'"00"')], None),
                (b"HEAD", PATH, [REQUEST_ID], None),
                (b"HEAD", PATH, [REQUEST_ID, (b"if-none-match", b'"00"')], None),
                (b"POST", b"/o", [REQUEST_ID, (b"content-type", b"text/plain")], body),
                (b"POST", b"/o", [REQUEST_ID, (b"content-type", b"text/plain")], None),
            ],
        )
        self.assertEqual(owner.terms, [(True, 3.0, None)] * 4 + [(False, 3.0, None)] * 2)


class ContractTests(StorageOwnerContract, SynchronousTestCase):
    def make_owner(self, reply: StubReply | NodeError) -> StorageClient:
        return StorageClient(StubOwnerClient("storage", reply))


class StubTests(StorageOwnerContract, SynchronousTestCase):
    def make_owner(self, reply: StubReply | NodeError) -> StubStorageOwner:
        return StubStorageOwner(reply)
