"""What owners and facets write into an answer, as h11 reads it: one answer, and theirs.

Run by pytest. The examples are the same in every run, and few enough for a few seconds in all.
"""

from __future__ import annotations

import h11
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from micronode.calls.call import ResponseHead
from micronode.http.request import Request
from tests.http.support import Wire, make_metrics, make_open_site
from tests.property.http_grammar import either

METRICS = make_metrics()


def read_by_h11(raw: bytes, method: str, *, closed: bool) -> tuple[h11.Response, bytes]:
    """Return the one answer that h11, in the role of the client, reads in *raw*, and its body."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(raw)
    if closed:
        connection.receive_data(b"")
    head, body = connection.next_event(), b""
    assert isinstance(head, h11.Response)
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert connection.trailing_data[0] == b""
    return head, body


hostile_text = st.text(alphabet='ab:;,/=" \t\r\n\0\x0b\x1f\x7f\x85\xa0é\u010a\u2028\ud800', max_size=12)
hostile_values = st.one_of(
    hostile_text, st.just("a\r\nSet-Cookie: b"), st.just("a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
)
values = either(st.text(alphabet='ab:;,/=" é\u2028', max_size=8), hostile_values, 12)
names = either(st.sampled_from(("x-a", "X-B", "cache-control")), hostile_text, 12)
ours_to_write = st.sampled_from(("Content-Length", "transfer-encoding", "Connection", "X-Request-ID", "date"))
hostile_heads = st.builds(
    ResponseHead,
    status=either(
        st.sampled_from((200, 201, 204, 206, 304, 404, 500, 599)),
        st.sampled_from((-1, 0, 100, 101, 199, 600)),
    ),
    content_type=st.none() | values,
    length=st.sampled_from((None, None, 0, 3, 6)) | st.integers(-1, 12),
    etag=st.none() | values,
    range=st.none() | values,
    headers=st.lists(
        st.tuples(names, values) | st.tuples(ours_to_write, st.sampled_from(("0", "chunked", "keep-alive"))),
        max_size=2,
    ).map(tuple),
)


@settings(derandomize=True, database=None, deadline=None, max_examples=300)
@given(
    hostile_heads,
    st.lists(st.just(b"abc"), max_size=2),
    st.sampled_from(("GET", "GET", "HEAD")),
    st.booleans(),
)
def test_an_owner_writes_its_own_answer_and_no_other(
    head: ResponseHead, body: list[bytes], method: str, http11: bool
) -> None:
    def serve(request: Request) -> None:
        request.sink.start(head)
        for piece in body:
            request.sink.write(piece)
        request.sink.finish()

    wire = Wire()
    channel = make_open_site(serve, clock=Clock(), metrics=METRICS).buildProtocol(None)
    channel.makeConnection(wire)
    channel.dataReceived(b"%s / HTTP/1.%d\r\nHost: a\r\n\r\n" % (method.encode(), http11))
    if wire.disconnected:
        # Cut, because the body is not as long as was promised.
        assert head.length != len(b"".join(body))
        return
    answer, got = read_by_h11(wire.value(), method, closed=bool(wire.disconnecting))
    assert answer.status_code in (head.status, 502)
    written = [name for name, _ in answer.headers]
    for name in (b"content-length", b"transfer-encoding", b"connection", b"x-request-id", b"date"):
        assert written.count(name) <= 1
    if answer.status_code == 502:
        return
    assert got == (b"" if method == "HEAD" or head.status in (204, 304) else b"".join(body))
    said = dict(answer.headers)
    for name, value in (
        (b"etag", head.etag),
        (b"content-type", head.content_type),
        (b"content-range", head.range),
    ):
        assert said.get(name) == (None if value is None else value.strip(" ").encode())
