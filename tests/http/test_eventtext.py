"""Tests for :mod:`micronode.http.eventtext`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.http.eventtext import HEARTBEAT, MAX_EVENT_ID, event_text, retry_text
from tests.support.eventsource import Event, EventReader


def read(*texts: bytes) -> EventReader:
    reader = EventReader()
    for text in texts:
        reader.feed(text)
    return reader


class EventTextTests(SynchronousTestCase):
    def test_looks_so(self) -> None:
        self.assertEqual(event_text(b"{}"), b"data: {}\n\n")
        self.assertEqual(event_text(b"{}", event_id="m-1"), b"id: m-1\ndata: {}\n\n")
        self.assertEqual(event_text(b"{}", name="error"), b"event: error\ndata: {}\n\n")

    def test_line_ends_in_a_message(self) -> None:
        for data, lines in (
            (b"a\nb", b"data: a\ndata: b\n\n"),
            (b"a\rb", b"data: a\ndata: b\n\n"),
            (b"a\r\nb", b"data: a\ndata: b\n\n"),
            (b"a\n\rb", b"data: a\ndata: \ndata: b\n\n"),
            (b"\n", b"data: \ndata: \n\n"),
            (b"a\r\n\r\n", b"data: a\ndata: \ndata: \n\n"),
        ):
            self.assertEqual(event_text(data), lines)

    def test_no_message_ends_its_event_or_begins_another(self) -> None:
        for data in (b"x\n\ndata: y", b"x\r\revent: error", b"x\nid: 7", b": a\n: b", b" two\n  spaces"):
            reader = read(event_text(data, event_id="m-1"), event_text(b"next"))
            expected = data.replace(b"\r", b"\n").decode()
            self.assertEqual(
                reader.events, [Event("message", expected, "m-1"), Event("message", "next", "m-1")]
            )
            self.assertEqual(reader.comments, 0)

    def test_an_id_is_visible_ascii(self) -> None:
        for known in ("!", "~", "m-1", "x" * MAX_EVENT_ID):
            self.assertEqual(read(event_text(b"x", event_id=known)).last_event_id, known)
        for wrong in (
            "a b",
            "a\n",
            "\n",
            "a\rdata: x",
            "a\0",
            "\x7f",
            "é",
            "\ud800",
            "x" * (MAX_EVENT_ID + 1),
        ):
            with self.assertRaises(ValueError):
                event_text(b"x", event_id=wrong)

    def test_what_is_no_event(self) -> None:
        reader = read(HEARTBEAT, retry_text(1500), HEARTBEAT)
        self.assertEqual((reader.events, reader.comments, reader.retry_ms), ([], 2, 1500))
