"""The shapes of a call: values that nobody changes on the way."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import NO_TENANT, Call, Ingress, Reply, ResponseHead


class CallTests(SynchronousTestCase):
    """Call, ResponseHead and Reply."""

    def test_defaults(self) -> None:
        """What an ingress does not know is absent, not empty text."""
        call = Call(operation=None, args={}, ingress=Ingress.OAP, request_id="r")  # type: ignore[arg-type]
        self.assertEqual(call.tenant, NO_TENANT)
        self.assertEqual(
            [call.body, call.body_done, call.capability, call.traceparent, call.idempotency_key],
            [None] * 5,
        )
        self.assertEqual([call.deadline_s, call.corr_id], [None] * 2)

    def test_a_head_of_nothing(self) -> None:
        head = ResponseHead()
        self.assertEqual(
            (head.status, head.content_type, head.length, head.etag, head.range, head.verified, head.headers),
            (200, None, None, None, None, None, ()),
        )
        self.assertIsNone(Reply(head=head).body)

    def test_no_other_fields(self) -> None:
        """A misspelt one would be lost without a word; that none is changed is the type checker's to say."""
        for value in (ResponseHead(), Reply(head=ResponseHead())):
            with self.assertRaises(AttributeError):
                value.state = None

    def test_ingress_labels(self) -> None:
        """They are labels of bytes_total, which is golden."""
        self.assertEqual([door.value for door in Ingress], ["http", "oap"])
