"""Requests as callers and attackers write them, for the HTTP property tests.

A *plain* request is valid and comes with what it says; a *wild* one is made of the same parts, with a
hostile spelling here and there and some bytes changed afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from typing import TypeVar

import attrs
from hypothesis import strategies as st

_T = TypeVar("_T")

HOST = b"Host: node:5310"
METHODS = (b"GET", b"HEAD", b"POST", b"OPTIONS", b"M-SEARCH", b"get", b"!#$%&'*+-.^_`|~0aZ")
TARGETS = (
    b"/",
    b"/a",
    b"/a/b?c=d",
    b"/?",
    b"/a?b?c",
    b"/%00%0d%0a",
    b"//a",
    b"/a;b=c",
    b"/.././",
    b"http://node:5310/a?b",
    b"HTTP://NODE:5310",
    b"http://node:5310?a=http://b/",
)
FIELDS = (
    b"A: b",
    b"A:",
    b"a:\t b, c\t ",
    b"Accept: */*",
    b"B: \x80\x85\xa0\xff",
    b"Connection: keep-alive",
    b"Expect: 100-continue",
    b"Range: bytes=0-1",
    b"!#$%&'*+-.^_`|~0aZ: x",
)
WILD_LINES = (
    b"CONNECT node:5310 HTTP/1.1",
    b"CONNECT / HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"GET /a#b HTTP/1.1",
    b"GET  / HTTP/1.1",
    b" GET / HTTP/1.1",
    b"GET / HTTP/1.1 ",
    b"GET /\xff HTTP/1.1",
    b"GET / a HTTP/1.1",
    b"GET\t/ HTTP/1.1",
    b"GET http://other/ HTTP/1.1",
    b"GET http://a@node:5310/ HTTP/1.1",
    b"GET node:5310 HTTP/1.1",
    b"GET /",
    b"GET / HTTP/0.9",
    b"GET / HTTP/1.2",
    b"GET / HTTP/2.0",
    b"GET / HTTP/01.1",
    b"GET / http/1.1",
    b"POST / HTTP/1.0",
)
WILD_HOSTS = (
    b"A: b",
    b"Host:",
    b"Host: a, b",
    b"Host: a@b",
    b"Host: node:5310\r\nHost: node:5310",
    b"host: node:5310\r\nHost: other",
    b"Host: [::1]:1",
    b"Host : node:5310",
    b"Host: node:5310\x0b",
)
WILD_FIELDS = (
    b" folded: x",
    b"A: b\r\n folded",
    b"A: b\r\n\tContent-Length: 3",
    b"A : b",
    b": b",
    b"A",
    b"A: \x00",
    b"A: \x0b",
    b"A: b\rC: d",
    b"A: b\nC: d",
    b"A: b\r",
    b"Upgrade: h2c",
    b"Connection: close",
    b"Connection: x\r\nConnection: CLOSE ,y",
    b"Connection: \xa0close",
    b"Content-Encoding: gzip",
)
LENGTHS = (
    b"Content-Length: 3",
    b"content-length:\t03 ",
    b"Content-Length: 0",
    b"Content-Length: 3\r\nContent-Length: 3",
    b"Content-Length: 3\r\ncontent-length: 4",
    b"Content-Length: 3, 3",
    b"Content-Length: 3,",
    b"Content-Length:",
    b"Content-Length: +3",
    b"Content-Length: -3",
    b"Content-Length: 0x3",
    b"Content-Length: 3.0",
    b"Content-Length: 3 3",
    b"Content-Length: 3\x0b",
    b"Content-Length: \xb3",
    b"Content-Length: \xa03",
    b"Content-Length: 1_0",
    b"Content-Length: 99999999999999999999999",
    b"Content-Length : 3",
    b"Content_Length: 3",
    b"Transfer-Encoding: chunked",
    b"transfer-encoding:CHUNKED\t",
    b"Transfer-Encoding: chunked\r\nContent-Length: 3",
    b"Content-Length: 3\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding:",
    b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding: xchunked",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b"Transfer_Encoding: chunked",
    b"TE: chunked",
)
SIZES = (b"%x", b"%X", b"0%x", b"000000%x", b"%x;", b"%x;a=b", b'%x ;a="b;c"', b"%x\t;\ta", b"%x;a ")
WILD_SIZES = (
    b"",
    b" %x",
    b"%x ",
    b"0x%x",
    b"+%x",
    b"-%x",
    b"%x_0",
    b"%xg",
    b"%x,",
    b"%x\x00",
    b"%x\x0b",
    b"%x;\x80",
    b"%x;a\rb",
    b"%x;a\nb",
    b"%x\n",
    b"%x\r",
    b"00000000%x",
    b"FFFFFFFFFFFFFFFF%x",
)
TRAILERS = (b"A: b\r\n", b"A:\r\n", b"b: \x80\r\nC: d\r\n")
WILD_TRAILERS = (
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"transfer-encoding: identity\r\n",
    b"Host: other\r\n",
    b"A\r\n",
    b" A: b\r\n",
    b"A: b\r\n folded\r\n",
    b"A: b\n",
    b"A: \x00\r\n",
    b"A : b\r\n",
    b": b\r\n",
    b"\n",
)
ENDS = (b"", b"\n", b"\r", b"\n\r", b"\r\r\n", b"x\r\n", b"\r\n\r\n")
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
#: What a byte is replaced by, or what is put before it.
SPICE = (
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b"\x0b",
    b"\x85",
    b"\xff",
    b":",
    b";",
    b",",
    b"0",
    b"0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"Content-Length: 1\r\n",
)


def alone() -> Iterator[bytes]:
    """Each hostile part in a request that has nothing else wrong."""
    for line in WILD_LINES:
        yield request(line, HOST)
    for field in (*WILD_HOSTS, *WILD_FIELDS):
        yield request(b"GET / HTTP/1.1", *(() if b"ost" in field else (HOST,)), field)
    for chunks in (
        *(chunked(b"abc", [size, b"0"], b"", [b"\r\n"]) for size in (*SIZES, *WILD_SIZES)),
        *(chunked(b"abc", [b"3", size], b"", [b"\r\n"]) for size in (*SIZES, *WILD_SIZES)),
        *(chunked(b"abc", [b"3", b"0"], b"", [end]) for end in ENDS),
        *(chunked(b"abc", [b"3", b"0"], trailer, [b"\r\n"]) for trailer in (*TRAILERS, *WILD_TRAILERS)),
    ):
        yield request(b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: chunked", body=chunks)


def lengths() -> Iterator[bytes]:
    """Each two ways to say a length together, and each way in HTTP/1.0; the body suits them all."""
    abc = b"3\r\nabc\r\n0\r\n\r\n"
    for one, other in product((b"A: b", *LENGTHS), repeat=2):
        yield request(b"POST / HTTP/1.1", HOST, one, other, body=abc)
    for one in LENGTHS:
        yield request(b"POST / HTTP/1.0", HOST, one, body=abc)


def request(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    """Return a request, and another one after it, so that a wrong end shows."""
    return b"\r\n".join([line, *fields, b"", body]) + NEXT


@attrs.frozen(kw_only=True)
class Plain:
    """A valid request as sent, and what a reader must make of it."""

    raw: bytes
    method: str
    target: str
    body: bytes


def either(plain: st.SearchStrategy[_T], wild: st.SearchStrategy[_T], odds: int = 6) -> st.SearchStrategy[_T]:
    """Draw from *plain*, and one time in *odds* from *wild*."""
    return st.integers(0, odds - 1).flatmap(lambda drawn: plain if drawn else wild)


def chunked(body: bytes, sizes: list[bytes], trailer: bytes, ends: list[bytes]) -> bytes:
    """Return *body* in chunks, one for each of *sizes* with the last for the last chunk."""
    *inner, last = sizes
    step, raw = len(body) // max(1, len(inner)), b""
    for index, size in enumerate(inner):
        piece = body[index * step :] if index == len(inner) - 1 else body[index * step : (index + 1) * step]
        if piece:
            raw += _filled(size, len(piece)) + b"\r\n" + piece + ends[index]
    return raw + _filled(last, 0) + b"\r\n" + trailer + b"\r\n"


def _filled(size: bytes, count: int) -> bytes:
    return size % count if b"%" in size else size


bodies = st.binary(max_size=40)


@st.composite
def plains(draw: st.DrawFn, targets: tuple[bytes, ...] = TARGETS) -> Plain:
    """A valid request of HTTP/1.1."""
    method, target, body = draw(st.sampled_from(METHODS)), draw(st.sampled_from(targets)), draw(bodies)
    # Some may not be repeated.
    fields = draw(st.lists(st.sampled_from(FIELDS), max_size=4, unique=True))
    framing = draw(st.sampled_from(("none", "length", "chunked")))
    raw = b""
    if framing == "none":
        body = b""
    elif framing == "length":
        fields.append(b"Content-Length: %d" % len(body))
        raw = body
    else:
        fields.append(draw(st.sampled_from((b"Transfer-Encoding: chunked", b"transfer-encoding:CHUNKED\t"))))
        sizes = draw(st.lists(st.sampled_from(SIZES), min_size=2 if body else 1, max_size=4))
        trailer = b"".join(draw(st.lists(st.sampled_from(TRAILERS), max_size=2)))
        raw = chunked(body, sizes, trailer, [b"\r\n"] * len(sizes))
    fields.insert(draw(st.integers(0, len(fields))), HOST)
    before = draw(st.sampled_from((b"", b"", b"\r\n")))
    head = b"\r\n".join([b"%s %s HTTP/1.1" % (method, target), *fields, b"", b""])
    return Plain(raw=before + head + raw, method=method.decode(), target=target.decode(), body=body)


@st.composite
def _hostile(draw: st.DrawFn, targets: tuple[bytes, ...]) -> bytes:
    """A request put together with hostile parts."""
    parts = st.tuples(st.sampled_from(METHODS), st.sampled_from(targets), st.sampled_from((1, 1, 1, 0)))
    line = draw(either(parts.map(b"%s %s HTTP/1.%d".__mod__), st.sampled_from(WILD_LINES)))
    fields = [draw(either(st.just(HOST), st.sampled_from(WILD_HOSTS), 8))]
    fields += draw(st.lists(either(st.sampled_from(FIELDS), st.sampled_from(WILD_FIELDS)), max_size=3))
    fields += draw(st.lists(st.sampled_from(LENGTHS), max_size=2))
    fields = draw(st.permutations(fields))
    body = draw(st.one_of(st.just(b""), st.just(b"abc"), bodies, _hostile_chunks()))
    before = draw(st.sampled_from((b"",) * 6 + (b"\r\n", b"\n", b"\r\n\r\n")))
    return before + b"\r\n".join([line, *fields, b"", b""]) + body


@st.composite
def _hostile_chunks(draw: st.DrawFn) -> bytes:
    size = either(st.sampled_from(SIZES), st.sampled_from(WILD_SIZES), 8)
    sizes = draw(st.lists(size, min_size=2, max_size=3))
    end = either(st.just(b"\r\n"), st.sampled_from(ENDS), 10)
    trailer = draw(either(st.sampled_from((b"", *TRAILERS)), st.sampled_from(WILD_TRAILERS), 4))
    return chunked(draw(bodies), sizes, trailer, [draw(end) for _ in sizes])


@st.composite
def wilds(draw: st.DrawFn, targets: tuple[bytes, ...] = TARGETS) -> bytes:
    """A few requests of all kinds in a row, and then some bytes changed."""
    some = st.one_of(plains(targets).map(lambda plain: plain.raw), _hostile(targets))
    data = bytearray(b"".join(draw(st.lists(some, min_size=1, max_size=3))))
    for _ in range(draw(st.sampled_from((0, 0, 1, 2)))):
        at, spice = draw(st.integers(0, len(data))), draw(st.sampled_from((b"", *SPICE)))
        data[at : at + draw(st.integers(0, 2))] = spice
    return bytes(data)


def pieces(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """*data* in pieces."""
    ends = st.lists(st.integers(0, len(data)), max_size=8)
    return ends.map(lambda at: [data[a:b] for a, b in pairwise([0, *sorted(at), len(data)]) if a < b])
