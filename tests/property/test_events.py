"""Whatever a message and its id are: a reader of the stream gets that message, and nothing else with it."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from micronode.http.eventtext import HEARTBEAT, event_text, retry_text
from tests.support.eventsource import Event, EventReader

#: What means something in a stream, and what might.
_TELLING = st.sampled_from(
    [
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "data",
        ":",
        ": ",
        "id",
        "event",
        "retry",
        " ",
        "\0",
        "\ufeff",
        "\u2028",
        "\x85",
    ]
)
TEXTS = st.lists(_TELLING | st.characters(codec="utf-8"), min_size=1, max_size=30).map("".join)
IDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)


@given(st.lists(st.tuples(TEXTS, IDS), max_size=5), st.data())
def test_reader_gets_what_was_written(messages: list[tuple[str, str]], data: st.DataObject) -> None:
    texts, expected, last = [], [], ""
    for message, event_id in messages:
        last = event_id or last
        texts += [HEARTBEAT, event_text(message.encode(), event_id=event_id), retry_text(7)]
        expected.append(Event("message", re.sub("\r\n|\r", "\n", message), last))
    stream = b"".join(texts)
    reader = EventReader()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        reader.feed(stream[:size])
        stream = stream[size:]
    assert reader.events == expected
    assert reader.comments == len(messages)
    assert reader.last_event_id == last


@given(st.text(max_size=20))
def test_id_is_written_or_refused(event_id: str) -> None:
    reader = EventReader()
    try:
        text = event_text(b"x", event_id=event_id)
    except ValueError:
        assert re.fullmatch("[!-~]+", event_id) is None
        return
    reader.feed(text)
    assert reader.events == [Event("message", "x", event_id)]
