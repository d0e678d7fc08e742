"""``Streams`` by itself: what is remembered, and what is forgotten. Its rules are in the session vectors."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.events import StreamOpened
from micronode.oap.wire.frames import END, NO_TENANT, REQ, START
from micronode.oap.wire.states import IllegalSendError, StreamInput, StreamState
from micronode.oap.wire.streams import Streams

APP = 0x0402


class StreamsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.streams = Streams(4)

    def open(self, corr_id: int) -> None:
        event = self.streams.receive(REQ | START | END, 0, APP, NO_TENANT, corr_id, b"", b"{}")
        self.assertIsInstance(event, StreamOpened)

    def test_remembers_only_what_is_open(self) -> None:
        for corr_id in range(1, 1_000):
            self.open(corr_id)
            self.assertIn(corr_id, self.streams)
            self.streams.sending(corr_id, StreamInput.SEND_WHOLE)
            self.assertNotIn(corr_id, self.streams)
        self.assertEqual((len(self.streams), self.streams.highest), (0, 999))

    def test_an_illegal_send_changes_nothing(self) -> None:
        self.open(1)
        self.assertRaises(IllegalSendError, self.streams.sending, 1, StreamInput.SEND_END)
        self.assertRaises(IllegalSendError, self.streams.sending, 2, StreamInput.SEND_ERROR)
        stream = self.streams.sending(1, StreamInput.SEND_HEAD)
        self.assertEqual((stream.app, stream.tenant, stream.state), (APP, NO_TENANT, StreamState.ANSWERING))

    def test_clear_keeps_the_highest(self) -> None:
        self.open(7)
        self.streams.clear()
        self.assertEqual((len(self.streams), self.streams.highest), (0, 7))
