"""micronode.adapters.objects, and who is made of it: what an owner of objects is asked."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.objects import ObjectClient
from micronode.adapters.storage import StorageClient
from micronode.errors import NodeError
from micronode.facets.media import MediaFacet
from tests.contracts.object_owner import CID, ObjectOwnerContract
from tests.support.calls import make_call, operation_of
from tests.support.owners import StubOwnerClient, StubReply, StubStorageOwner


class ObjectClientTests(ObjectOwnerContract, SynchronousTestCase):
    client: Any = ObjectClient

    def make_owner(self, reply: StubReply | NodeError) -> Any:
        self.owner = StubOwnerClient("overlay", reply)
        return self.client(self.owner, deadline_s=3.0)

    def test_what_is_asked(self) -> None:
        asked = {"byte_range": "bytes=0-9", "if_none_match": '"00"'}
        self.successResultOf(self.ask("get", StubReply(), **asked))
        (made,) = self.owner.calls
        self.assertEqual(
            (made["method"], made["path"], made["body"]), (b"GET", b"/o/b3%3A" + b"0" * 64, None)
        )
        self.assertEqual(made["headers"][1:], [(b"range", b"bytes=0-9"), (b"if-none-match", b'"00"')])

    def test_terms_are_the_calls(self) -> None:
        owner = self.make_owner(StubReply())
        media = MediaFacet(StubStorageOwner(StubReply()), max_object=1, mismatches=None)
        self.successResultOf(
            owner.head(make_call(operation_of(media, "head"), {"cid": CID}, deadline_s=0.5), CID)
        )
        self.assertEqual(self.owner.terms, [(True, 3.0, 0.5)])


class StorageClientTests(ObjectClientTests):
    client = StorageClient


class StubTests(ObjectOwnerContract, SynchronousTestCase):
    def make_owner(self, reply: StubReply | NodeError) -> Any:
        return StubStorageOwner(reply)
