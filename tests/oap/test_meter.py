"""What the ingress counts; frames are in ``test_protocol``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import ErrorCode
from micronode.oap.meter import Meter
from micronode.oap.wire.events import BodyReceived
from micronode.oap.wire.profiles import Profile
from tests.support.measures import make_metrics, sample
from tests.support.oap import StubNode, body, cancel, start


class MeterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.metrics = make_metrics()
        self.meter = Meter(self.metrics)

    def test_last_chunk_is_an_end(self) -> None:
        self.meter.received(BodyReceived(1, b"x", False))
        self.meter.received(BodyReceived(1, b"x", True))
        for kind in ("data", "end"):
            self.assertEqual(sample(self.metrics, "oap_frames_total", direction="in", kind=kind), 1)

    def test_frames_that_change_nothing_are_what_they_are(self) -> None:
        """A frame for a stream that is closed, unknown or broken by it is counted like any other."""
        node = StubNode()
        end = node.connect()
        chunk = body(1, b"x", app=Profile.SEARCH)
        end.send(body(1, b"x"))  # unknown
        end.send(start(1), cancel(1), chunk, cancel(1))  # the last two: closed
        end.send(start(1))  # refused: not above the highest
        end.send(start(2, ended=False), start(2))  # the second breaks the stream
        end.send(start(3, ended=False), body(3, b"x", ended=True))  # another app
        seen = {
            kind: node.count("oap_frames_total", direction="in", kind=kind)
            for kind in ("start", "data", "end", "event", "error")
        }
        self.assertEqual(seen, {"start": 5, "data": 2, "end": 3, "event": 0, "error": 0})

    def test_refusals_by_name(self) -> None:
        self.meter.refused(ErrorCode.BUSY)
        self.meter.dropped("closed")
        self.assertEqual(sample(self.metrics, "oap_rejects_total", reason="busy"), 1)
        self.assertEqual(sample(self.metrics, "oap_rejects_total", reason="closed"), 1)

    def test_call_without_operation_is_other(self) -> None:
        self.meter.ended(None, 0.5)
        labels = {"route": "other", "method": "OTHER"}
        self.assertEqual(sample(self.metrics, "request_latency_seconds_count", **labels), 1)
        self.assertEqual(sample(self.metrics, "http_requests_total", status="501", **labels), 0)
