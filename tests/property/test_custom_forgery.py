"""Custom facets: whatever a caller says, what the upstream reads is one request, and the one that was meant.

Another reader (h11) has to see exactly one request, with the configured authority and the route's method.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from micronode.calls.operations import Access
from micronode.errors import ErrorCode, NodeError
from tests.support.custom import AUTHORITY, CustomNode

_HOSTILE = st.one_of(
    st.sampled_from(
        ["\r\n", "\n", "\r", "\0", " ", "\t", "#", "\\", "//", "/", "..", ".", "?", ";", ":", "*"]
    ),
    st.sampled_from(["%2e", "%2E%2e", "%2f", "%5c", "%00", "%0d%0a", "%", "%zz", "admin", "%61dmin"]),
    st.sampled_from(["@evil", "http://evil/", " HTTP/1.1\r\nHost: evil\r\n\r\nGET /"]),
    st.sampled_from(["\u00e9", "\u010a", "\ud800", "\x7f", "\x85"]),
)
_text = st.lists(st.one_of(_HOSTILE, st.text("abc", max_size=3), st.text(max_size=2)), max_size=6).map(
    "".join
)
_paths = st.one_of(_text.map(lambda text: "/" + text), _text)
_methods = st.sampled_from(
    ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "get", "CONNECT", "GET /x", "GET\r\n", ""]
)
_known = st.one_of(
    st.sampled_from(
        ["Host", "host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE"]
    ),
    st.sampled_from(["Trailer", "Upgrade", "Expect", "Forwarded", "X-Forwarded-For", "X_Forwarded_For"]),
    st.sampled_from(["X-Micronode-Tenant", "X_Micronode-Tenant", "x.micronode.tenant", "Authorization"]),
    st.sampled_from(["Cookie", "Proxy-Authorization", "Proxy", "X-Request-ID", "traceparent", "X-Real-IP"]),
    st.sampled_from(["X-HTTP-Method-Override", "X_Original_URL", "X-Rewrite-URL"]),
    st.sampled_from(["Accept", "X-Own", "Accept-Encoding"]),
)
_values = st.one_of(st.sampled_from(["chunked", "evil", "0", "close, X-Own", "upgrade", "x-own"]), _text)
_headers = st.dictionaries(st.one_of(_known, _text), _values, max_size=5)
#: What nobody but the node may say, as a WSGI program would read it.
_NODES = re.compile(
    rb"x.micronode.(?!deadline.ms)|authorization|cookie|proxy|forwarded|x.real.ip|te|trailer|upgrade"
    rb"|x.http.method.override|x.original.url|x.rewrite.url"
)
_SETTINGS = settings(derandomize=True, database=None, deadline=None, max_examples=400)


def read_one(data: bytes) -> Any:
    """Return the request that *data* is, the only one in it."""
    assert b"\0" not in data
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(data)
    request = peer.next_event()
    assert isinstance(request, h11.Request)
    event = peer.next_event()
    assert isinstance(event, h11.EndOfMessage), event
    assert peer.trailing_data == (b"", False)
    return request


def judge(node: CustomNode, called: Deferred[Any], method: str, path: str) -> None:
    """Hold what the upstream was sent against what the configuration and the route say."""
    request = read_one(node.heard())
    headers = list(request.headers)
    assert [value for name, value in headers if name == b"host"] == [AUTHORITY.encode()]
    assert request.method == method.encode()
    # Byte for byte, and nothing that the next reader could resolve.
    assert request.target == path.encode("ascii")
    assert re.fullmatch(rb"/(?!/)[\x21-\x7e]*", request.target)
    assert not {b"..", b"."} & set(request.target.partition(b"?")[0].split(b"/"))
    names = [name for name, _ in headers]
    assert len([name for name in names if name in (b"content-length", b"transfer-encoding")]) <= 1
    assert {b"connection", b"expect"}.isdisjoint(names)
    # Its own are there once; a caller's are not.
    for name in (b"x-request-id", b"x-forwarded-for"):
        assert names.count(name) == 1
    assert dict(headers)[b"x-forwarded-for"] == b"192.0.2.7"
    for name in names:
        if not name.startswith(b"x-forwarded-"):
            assert not _NODES.fullmatch(name), name
    called.cancel()
    assert node.client.inflight == 0


@_SETTINGS
@given(_methods, _paths, _headers)
@example("GET", "/a HTTP/1.1\r\nHost: evil\r\n\r\n", {})
@example("GET", "/%2e%2E/x", {})
@example(
    "POST", "/x", {"Content-Length": "5", "Transfer-Encoding": "chunked", "Connection": "X-Own", "X-Own": "1"}
)
@example("GET", "/x", {"X-Own": "a\r\nHost: evil"})
@example("GET", "/x", {"X_Micronode_Tenant": "evil", "x-micronode-token-id": "evil"})
def test_by_oap(method: str, path: str, headers: dict[str, str]) -> None:
    node = CustomNode()
    try:
        called = node.oap({"facet": "own", "method": method, "path": path, "headers": headers})
    except NodeError as error:
        told = error.code
    else:
        told = None
    if told is not None:
        assert told in (ErrorCode.BAD_REQUEST, ErrorCode.NOT_FOUND)
        return
    if called.called:
        refused: list[Any] = []
        called.addErrback(refused.append)
        assert refused[0].check(NodeError)
        assert refused[0].value.code is ErrorCode.BAD_REQUEST, refused[0].value
        assert node.network.connects == 0
        return
    called.addErrback(lambda _: None)
    judge(node, called, method, path)


@_SETTINGS
@given(_methods, _paths, st.lists(st.tuples(st.one_of(_known, _text), _values), max_size=5))
@example("GET", "/x", [("Connection", "close"), ("Connection", "X-Own"), ("X-Own", "1")])
@example("GET", "/x?token=1", [])
def test_by_http(method: str, path: str, headers: list[tuple[str, str]]) -> None:
    node = CustomNode()
    lines = [f"{method} /app/own{path} HTTP/1.1", "Host: evil.example"]
    lines += [f"{name}: {value}" for name, value in headers]
    data = "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass")
    try:
        called = node.http(data)
    except NodeError:
        assert node.network.connects == 0
        return
    except AssertionError:
        # What was said is no whole head.
        return
    assert not called.called, "what the ingress lets through is passed on"
    called.addErrback(lambda _: None)
    # A head may end earlier than was meant; what it asked is what was passed on.
    sent = data.partition(b" HTTP/1.1\r\n")[0].decode("latin-1")
    method, _, target = sent.partition(" ")
    judge(node, called, method, target.removeprefix("/app/own").removeprefix("http://evil.example/app/own"))


@_SETTINGS
@given(_paths)
@example("/%61dmin/x")
@example("/admin%2fx")
@example("/admin/%78")
@example("/admin;x/y")
@example("/%2Fadmin/x")
@example("/x/..;/admin/x")
def test_what_is_guarded_stays_guarded(path: str) -> None:
    """A path that decodes to one of a route's is that route's, or refused."""
    node = CustomNode()
    try:
        operation = node.table.by_op(0x0501, "call", {"facet": "own", "method": "POST", "path": path})
    except NodeError:
        return
    decoded = unquote(path.partition("?")[0])
    # As a WSGI program reads it, a servlet, and a server that merges slashes.
    for read in (decoded, re.sub(r";[^/]*", "", decoded), re.sub(r"[/\\]+", "/", decoded)):
        assert (operation.path == "/app/own/admin/{rest}") == read.startswith("/admin/")
    assert operation.access is Access.WRITE
