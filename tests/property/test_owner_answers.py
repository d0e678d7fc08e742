"""Answers of owners: the same result in whatever pieces they come, and h11's wherever one is accepted.

Answers are fed to the whole client, from the transport to whoever reads the body.
"""

from __future__ import annotations

import random
from typing import Any

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from micronode.adapters.connection import OwnerConnection
from micronode.adapters.exchange import Exchange
from micronode.concurrency.outgoing import Outgoing
from tests.adapters.test_answerhead import MALFORMED as MALFORMED_HEADS
from tests.adapters.test_chunks import MALFORMED as MALFORMED_CHUNKS
from tests.adapters.test_chunks import WELL_FORMED as WELL_FORMED_CHUNKS
from tests.support.network import MemoryNetwork, OwnerEnd

#: Status, fields, body; and whether it was whole.
Result = tuple[int, tuple[tuple[bytes, bytes], ...], bytes] | None

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
#: Of the connection, and so not of the answer.
_DROPPED = {
    b"connection",
    b"content-length",
    b"transfer-encoding",
    b"keep-alive",
    b"upgrade",
    b"trailer",
    b"te",
}

CORPUS: tuple[bytes, ...] = (
    _OK + b"Content-Length: 0\r\n\r\n",
    _OK + b"Content-Length: 5\r\n\r\nhello",
    _OK + b"Content-Length: 5\r\n\r\nhell",
    _OK + b"Content-Length: 5\r\n\r\nhello!",
    _OK + b"Content-Length: 5\r\n\r\nhello\r\n",
    _OK + b"\r\nuntil the end\r\n\r\n",
    _OK + b"\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nhello",
    b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
    b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
    b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "x"\r\n\r\n',
    b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + _OK + b"Content-Length: 2\r\n\r\nok",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    + _OK
    + b"Content-Length: 2\r\n\r\nok",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
    _OK + b"Set-Cookie: a\r\nSet-Cookie: b\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n",
    _OK + b"X-Tab:\ta\t\r\nX-Latin: \xe4\r\nContent-Length: 0\r\n\r\n",
    _OK + b"Connection: X-Hop, close\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n",
    b"",
    b"HTTP/1.1 200 OK\r\nX",
    *(_CHUNKED + body for body in WELL_FORMED_CHUNKS),
    *(_CHUNKED + body[:-1] for body in WELL_FORMED_CHUNKS),
    *(_CHUNKED + body + b"\r\n" for body in WELL_FORMED_CHUNKS),
    *(_CHUNKED + body for body in MALFORMED_CHUNKS),
    *(head + b"0\r\n\r\n" for head in MALFORMED_HEADS.values()),
)


class _Reader(Protocol):
    """Reads a body."""

    def __init__(self) -> None:
        self.body = b""
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        assert self.reason is None
        self.body += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.reason is None
        self.reason = reason


class _Keeper:
    """Keeps nothing."""

    outgoing = Outgoing(Clock())

    def idle(self, connection: Any) -> None:
        """It stays open."""

    def dropped(self, connection: Any) -> None:
        """Nothing to count."""

    def retired(self, connection: Any) -> None:
        """It was dropped."""

    def lost(self, connection: Any) -> None:
        """Nothing to count."""


def read(pieces: list[bytes], *, to_head: bool = False) -> Result:
    """Feed the client *pieces*, and the end; return what it makes of them, None where that is a failure."""
    clock = MemoryNetwork().reactor
    end = OwnerEnd(clock)
    connection = OwnerConnection(_Keeper())
    end.protocol = connection
    connection.makeConnection(end)
    exchange = Exchange(b"GET", None, lambda: None, to_head=to_head, keep=True)
    found: list[Any] = []
    reader = _Reader()

    def told(response: Any) -> None:
        found.append(response)
        response.deliverBody(reader)

    exchange.head.addCallbacks(told, lambda _: None)
    exchange.begin(connection)
    surplus = False
    for piece in pieces:
        if end.closed:
            # Behind an answer that is over there is something that nobody reads.
            surplus = True
            break
        end.send(piece)
    surplus = surplus or exchange.has_surplus or (end.aborted and reader.reason is not None)
    clock.advance(0)
    end.hang_up()
    if (
        not found
        or surplus
        or reader.reason is None
        or not reader.reason.check(ResponseDone, PotentialDataLoss)
    ):
        return None
    return found[0].code, tuple(found[0].head.fields), reader.body


def read_by_h11(data: bytes, *, to_head: bool = False) -> Result:
    """Return what h11 makes of *data* and the end, None where that is a failure or something is left."""
    peer = h11.Connection(h11.CLIENT, max_incomplete_event_size=100_000)
    peer.send(h11.Request(method="HEAD" if to_head else "GET", target="/", headers=[("Host", "x")]))
    peer.send(h11.EndOfMessage())
    head: h11.Response | None = None
    body = b""
    try:
        peer.receive_data(data)
        ended = False
        while True:
            event = peer.next_event()
            if event is h11.NEED_DATA:
                if ended:
                    return None
                ended = True
                peer.receive_data(b"")
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None
    assert head is not None
    named = {
        token.strip().lower()
        for name, value in head.headers
        if name == b"connection"
        for token in value.split(b",")
    }
    dropped = (_DROPPED | named) - ({b"content-length"} if to_head else set())
    fields = [(name, value) for name, value in head.headers if name not in dropped]
    return head.status_code, tuple(sorted(fields)), body


def cut(data: bytes, source: random.Random) -> list[bytes]:
    """Cut *data* into pieces of random lengths, mostly short ones."""
    pieces, at = [], 0
    while at < len(data):
        size = source.choice((1, 1, 2, 3, 7, 40, 500))
        pieces.append(data[at : at + size])
        at += size
    return pieces


def check(data: bytes, source: random.Random, *, to_head: bool = False) -> Result:
    """Read *data* whole and in pieces, compare, and compare with h11 what is accepted."""
    whole = read([data] if data else [], to_head=to_head)
    assert read([data[at : at + 1] for at in range(len(data))], to_head=to_head) == whole
    for _ in range(3):
        assert read(cut(data, source), to_head=to_head) == whole
    if whole is not None:
        status, fields, body = whole
        assert (status, tuple(sorted(fields)), body) == read_by_h11(data, to_head=to_head)
    return whole


@pytest.mark.parametrize("number", range(len(CORPUS)))
@pytest.mark.parametrize("to_head", [False, True])
def test_corpus(number: int, to_head: bool) -> None:
    """Each is one result, however it comes, and nothing is accepted that h11 reads otherwise."""
    check(CORPUS[number], random.Random(number), to_head=to_head)


def test_what_is_accepted() -> None:
    """The corpus has both sorts, and those meant to be refused are."""
    accepted = {data for data in CORPUS if read([data] if data else []) is not None}
    for body in WELL_FORMED_CHUNKS:
        assert _CHUNKED + body in accepted
    for body in MALFORMED_CHUNKS:
        assert _CHUNKED + body not in accepted
    for why, head in MALFORMED_HEADS.items():
        assert head + b"0\r\n\r\n" not in accepted, why


_names = st.sampled_from(
    [
        b"Content-Length",
        b"Transfer-Encoding",
        b"Connection",
        b"X",
        b"Content-Length ",
        b"content-length",
        b" X",
        b"",
    ]
)
_values = st.sampled_from(
    [
        b"0",
        b"3",
        b"3, 3",
        b"+3",
        b"chunked",
        b"gzip",
        b"Chunked",
        b"close",
        b"keep-alive",
        b"x",
        b"",
        b"\x00",
        b"a\xe4",
    ]
)
_ends = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\n ", b"\r\n\t", b"\r\r\n"])
_lines = st.sampled_from(
    [_OK] * 4
    + [
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 204 No\r\n",
        b"HTTP/1.1 304 Not\r\n",
        b"HTTP/1.1 100 C\r\n\r\n" + _OK,
    ]
    + [b"HTTP/1.1 200 OK\n", b"HTTP/1.1 101 S\r\n", b"HTTP/1.1  200 OK\r\n"]
)
_bodies = st.sampled_from(
    [
        b"",
        b"abc",
        b"abcd",
        b"ab",
        *WELL_FORMED_CHUNKS,
        *(body for body in MALFORMED_CHUNKS if len(body) < 100),
    ]
)
_fields = st.lists(st.tuples(_names, _values, _ends), max_size=4)
answers = st.builds(
    lambda line, fields, body: (
        line + b"".join(name + b": " + value + end for name, value, end in fields) + b"\r\n" + body
    ),
    _lines,
    _fields,
    _bodies,
)


@settings(derandomize=True, database=None, deadline=None, max_examples=200)
@given(answers, st.booleans(), st.integers(0, 1000))
@example(_OK + b"Content-Length: 3\r\n\r\nabc", False, 0)
def test_made_up_answers(data: bytes, to_head: bool, seed: int) -> None:
    check(data, random.Random(seed), to_head=to_head)


@settings(derandomize=True, database=None, deadline=None, max_examples=200)
@given(
    st.sampled_from([data for data in CORPUS if 0 < len(data) < 400]),
    st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=2), st.booleans()), max_size=3),
    st.integers(0, 1000),
)
def test_changed_answers(data: bytes, changes: list[tuple[int, bytes, bool]], seed: int) -> None:
    """One that was written over in some places."""
    changed = bytearray(data)
    for at, new, inserted in changes:
        changed[at : at if inserted else at + len(new)] = new
    check(bytes(changed), random.Random(seed))
