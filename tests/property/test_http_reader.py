"""The HTTP reader against h11: what it accepts, h11 accepts, and reads in the same way.

Run by pytest. The examples are the same in every run, and few enough for a few seconds in all.

The reader is driven where it is used, in the channel, so that the boundary between two requests is
under test too. It may be stricter than h11 and never looser. It is looser in two places only, both
asked for by RFC 9112, and :func:`tidied` rewrites exactly those before h11 sees them:

- one empty line before a request line is ignored (section 2.2: "SHOULD ignore at least one");
- white space before the ``;`` of a chunk extension is read over (section 7.1.1: BWS, which "a recipient
  MUST parse", RFC 9110 section 5.6.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs
import h11
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from micronode.calls.call import ResponseHead
from micronode.http.request import Request
from tests.http.support import Wire, make_metrics, make_open_site, read_answers
from tests.http.test_head import BAD, GOOD, TOO_LARGE
from tests.property.http_grammar import HOST, NEXT, Plain, alone, lengths, pieces, plains, wilds

bounded = settings(derandomize=True, database=None, deadline=None, max_examples=150)
METRICS = make_metrics()
_SAID = re.compile(rb'HTTP/1\.1 [0-9]{3}|"code":"[a-z_]+"')
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(;[^\r\n]*)?\r\n")


@attrs.frozen
class Message:
    """One request as a reader took it."""

    method: str
    path: str
    query: str
    fields: dict[str, str]
    body: bytes
    #: Where in the input the next one begins.
    end: int


@attrs.frozen
class Heard:
    """What became of some input."""

    messages: list[Message]
    #: The status of each answer and the name of each error.
    said: list[bytes]
    closing: bool


def ours(cut: Iterable[bytes]) -> Heard:
    """Return what a channel makes of the pieces *cut*."""
    wire, messages, fed = Wire(), [], 0

    def serve(request: Request) -> None:
        head, body = request.head, request.body
        assert body is not None
        end = fed - len(channel._buffer)
        messages.append(Message(head.method, head.path, head.query, head.fields, body.data, end))
        request.sink.start(ResponseHead(length=0))
        request.sink.finish()

    channel = make_open_site(serve, clock=Clock(), metrics=METRICS).buildProtocol(None)
    channel.makeConnection(wire)
    for piece in cut:
        fed += len(piece)
        channel.dataReceived(piece)
    return Heard(messages, _SAID.findall(wire.value()), wire.half_closed or bool(wire.disconnecting))


def theirs(data: bytes) -> list[Message]:
    """Return what h11, in the role of the server, makes of *data*."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    messages: list[Message] = []
    request, body = None, b""
    while True:
        try:
            event = connection.next_event()
        except h11.ProtocolError:
            return messages
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            path, query = split(request.target.decode("latin-1"))
            end = len(data) - len(connection.trailing_data[0])
            messages.append(Message(request.method.decode(), path, query, joined(request.headers), body, end))
            connection.send(h11.Response(status_code=400, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE:
                return messages
            connection.start_next_cycle()
        else:
            return messages


def split(target: str) -> tuple[str, str]:
    """Return path and query of *target*, which is in origin or absolute form."""
    found = re.fullmatch(r"(?:[a-z]+://[^/?]*)?([^?]*)\??(.*)", target, re.IGNORECASE)
    return (found[1] or "/", found[2]) if found else (target, "")


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return *headers*, those of one name in one."""
    fields: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


def tidied(data: bytes, messages: list[Message]) -> tuple[bytes, list[Message]]:
    """Return *data* without what RFC 9112 allows and h11 does not, and *messages* as h11 puts them."""
    tidy, start, moved = b"", 0, []
    for message in messages:
        raw, fields = data[start : message.end].removeprefix(b"\r\n"), message.fields
        if "transfer-encoding" in fields:
            raw = _tidy_chunks(raw)
            # h11 writes the coding in lower case.
            fields = {**fields, "transfer-encoding": fields["transfer-encoding"].lower()}
        start = message.end
        tidy += raw
        moved.append(attrs.evolve(message, fields=fields, end=len(tidy)))
    return tidy + data[start:], moved


def _tidy_chunks(raw: bytes) -> bytes:
    head, separator, rest = raw.partition(b"\r\n\r\n")
    tidy, size = head + separator, 1
    while size and (line := _SIZE_LINE.match(rest)):
        size = int(line[1], 16)
        chunk_end = line.end() + size + 2 if size else len(rest)
        tidy += line[1] + (line[2] or b"") + b"\r\n" + rest[line.end() : chunk_end]
        rest = rest[chunk_end:]
    return tidy + rest


def agree(data: bytes) -> None:
    """Assert that what we accept of *data* is what h11 reads, request by request."""
    tidy, accepted = tidied(data, ours([data]).messages)
    assert theirs(tidy)[: len(accepted)] == accepted


def test_h11_agrees_on_each_hostile_part() -> None:
    for data in (*GOOD.values(), *BAD.values(), *TOO_LARGE.values()):
        agree(data + NEXT)
    for data in (*alone(), *lengths()):
        agree(data)


def test_bytes_one_by_one_change_nothing() -> None:
    for data in alone():
        assert ours(data[at : at + 1] for at in range(len(data))) == ours([data])


@settings(bounded, max_examples=300)
@given(wilds())
def test_never_looser_than_h11(data: bytes) -> None:
    agree(data)


@bounded
@given(wilds().flatmap(pieces))
def test_cuts_change_nothing(cut: list[bytes]) -> None:
    assert ours(cut) == ours([b"".join(cut)])


@bounded
@given(st.lists(plains(), min_size=1, max_size=5), st.data())
def test_valid_requests_are_read_as_meant_and_answered_in_order(
    sent: list[Plain], data: st.DataObject
) -> None:
    late = data.draw(st.booleans())
    wire = Wire()
    served: list[tuple[str, str, str, bytes]] = []
    unanswered: list[tuple[Request, Deferred[None]]] = []

    def answer(request: Request) -> None:
        request.sink.start(ResponseHead(length=len(request.request_id)))
        request.sink.write(request.request_id.encode())
        request.sink.finish()

    def serve(request: Request) -> Deferred[None] | None:
        assert request.body is not None
        served.append((request.head.method, request.head.path, request.head.query, request.body.data))
        if late:
            over: Deferred[None] = Deferred()
            unanswered.append((request, over))
            return over
        answer(request)
        return None

    channel = make_open_site(serve, clock=Clock(), metrics=METRICS).buildProtocol(None)
    channel.makeConnection(wire)
    marked = (each.raw.replace(HOST, HOST + b"\r\nX-Request-ID: %d" % n, 1) for n, each in enumerate(sent))
    for piece in data.draw(pieces(b"".join(marked))):
        channel.dataReceived(piece)
    while unanswered:
        ((request, over),) = unanswered
        unanswered.clear()
        answer(request)
        # The next one begins when its permit is back.
        over.callback(None)
    assert served == [(each.method, *split(each.target), each.body) for each in sent]
    heads = [number for number, each in enumerate(sent) if each.method == "HEAD"]
    answers = read_answers(wire.value().replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""), heads=heads)
    assert [each.fields["x-request-id"] for each in answers] == [str(number) for number in range(len(sent))]
