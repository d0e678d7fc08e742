"""The last gate before a request is written: whatever it lets through is one request, and the one meant."""

from __future__ import annotations

import contextlib

import h11
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.web.iweb import UNKNOWN_LENGTH

from micronode.adapters.requesthead import CONNECTION_FIELDS, UnwritableRequestError, write_request_head

_nasty = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"\x00", b": ", b" ", b"\t", b"#", b"Host", b"\x7f", b"\xff"]
)
_text = st.lists(st.one_of(_nasty, st.binary(max_size=4), st.just(b"a-b")), max_size=4).map(b"".join)
_token = st.text("abcXYZ0123456789-_!#$%&'*+.^`|~", min_size=1, max_size=8).map(str.encode)
_methods = st.one_of(st.sampled_from([b"GET", b"POST", b"HEAD"]), _text)
_targets = st.one_of(st.just(b"/x?y=%20"), _text.map(lambda text: b"/" + text), _text)
_names = st.one_of(_token, st.sampled_from(sorted(CONNECTION_FIELDS)), _text)
_lengths = st.one_of(st.none(), st.just(UNKNOWN_LENGTH), st.integers(0, 10**9))


@settings(derandomize=True, database=None, deadline=None, max_examples=500)
@given(_methods, _targets, st.lists(st.tuples(_names, _text), max_size=4), _lengths, st.booleans())
def test_gate(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], length: object, keep: bool
) -> None:
    with contextlib.suppress(UnwritableRequestError):
        head = write_request_head(method, target, b"host", fields, length=length, keep=keep)
        assert head.count(b"\r\n") == head.count(b"\n") == head.count(b"\r")
        assert b"\x00" not in head
        lines = head.split(b"\r\n")
        assert lines[0] == method + b" " + target + b" HTTP/1.1"
        assert lines[0].count(b" ") == 2
        assert lines[-2:] == [b"", b""]
        assert lines[-2 - len(fields) : -2] == [name + b": " + value for name, value in fields]
        # Another reader reads the same.
        peer = h11.Connection(h11.SERVER)
        peer.receive_data(head)
        event = peer.next_event()
        assert isinstance(event, h11.Request)
        assert (event.method, event.target) == (method, target)
        read = event.headers.raw_items()
        assert [(name, value) for name, value in read[len(read) - len(fields) :]] == fields
        framing = [name.lower() for name, _ in read if name.lower() in CONNECTION_FIELDS]
        assert len(framing) == len(set(framing))


@settings(derandomize=True, database=None, deadline=None, max_examples=500)
@given(_token.filter(lambda name: name.lower() not in CONNECTION_FIELDS), st.binary(max_size=20))
def test_values(name: bytes, value: bytes) -> None:
    """Exactly those that stay where they are put pass."""
    control = any((byte < 0x20 and byte != 9) or byte == 0x7F for byte in value)
    clean = not control and value == value.strip(b" \t")
    try:
        write_request_head(b"GET", b"/", b"host", [(name, value)])
    except UnwritableRequestError:
        assert not clean
    else:
        assert clean
