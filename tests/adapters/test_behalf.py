"""micronode.adapters.behalf: what an owner is told of a call, and on which terms it is asked."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.behalf import terms
from micronode.facets.media import MediaFacet
from tests.support.calls import make_call, operation_of
from tests.support.owners import StubReply, StubStorageOwner

MEDIA = MediaFacet(StubStorageOwner(StubReply()), max_object=1, mismatches=None)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class TermsTests(SynchronousTestCase):
    def test_least(self) -> None:
        call = make_call(operation_of(MEDIA, "get"), {"cid": "x"})
        self.assertEqual(
            terms(call, None),
            {
                "headers": [(b"x-request-id", b"r-1")],
                "idempotent": True,
                "deadline_s": None,
                "caller_s": None,
            },
        )

    def test_all(self) -> None:
        call = make_call(
            operation_of(MEDIA, "put"),
            traceparent=TRACE,
            tenant=bytes(15) + b"\x2a",
            token_id="0f" * 16,
            deadline_s=0.5,
        )
        self.assertEqual(
            terms(call, 3.0),
            {
                "headers": [
                    (b"x-request-id", b"r-1"),
                    (b"traceparent", TRACE.encode()),
                    (b"x-micronode-tenant", b"0000000000000000000000000000002a"),
                    (b"x-micronode-token-id", b"0f" * 16),
                ],
                "idempotent": False,
                "deadline_s": 3.0,
                "caller_s": 0.5,
            },
        )
