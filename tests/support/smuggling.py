"""Requests that two parsers could read differently, and what a node answers to each: the data of
``docs/FRAMING.rst`` (:mod:`tests.support.framingpage`) and of the tests that send them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from micronode.errors import ErrorCode, http_status

#: The facet that is asked: an echo with a route for POST and one for GET.
FACET: Final = "echo"
#: Stands for the number of a run, so that its requests are told from all others.
_RUN: Final = b"@@@@"
#: The ids of the request that a payload begins with, and of the one that it hides, or that follows.
OUTER: Final = b"outer-" + _RUN
INNER: Final = b"inner-" + _RUN


@attrs.frozen
class Outcome:
    """How a node answers."""

    #: 100 is not counted. 408: it waits for what never comes.
    statuses: tuple[int, ...]
    #: Whether the connection ends behind the last of them.
    closes: bool = True

    @property
    def text(self) -> str:
        """In words."""
        said = [f"{each} ``{_CODES[each].value}``" if each in _CODES else f"{each}" for each in self.statuses]
        return ", ".join(said) + (", closed" if self.closes else "")


_CODES: Final = {
    http_status(code): code
    for code in (
        ErrorCode.BAD_REQUEST,
        ErrorCode.NOT_FOUND,
        ErrorCode.METHOD_NOT_ALLOWED,
        ErrorCode.TIMEOUT,
        ErrorCode.BODY_TOO_LARGE,
        ErrorCode.EXPECTATION_FAILED,
        ErrorCode.HEAD_TOO_LARGE,
    )
}
#: The request that is sent is served; so is the one behind it; it is served, and nothing behind it.
OK: Final = Outcome((200,), closes=False)
BOTH: Final = Outcome((200, 200), closes=False)
LAST: Final = Outcome((200,))
BAD: Final = Outcome((400,))
TOO_LARGE: Final = Outcome((413,))
LATE: Final = Outcome((408,))


@attrs.frozen
class Payload:
    """What is sent in one piece, and what comes of it."""

    group: str
    name: str
    data: bytes
    outcome: Outcome

    def run(self, number: int) -> bytes:
        """Return its bytes with ids of their own."""
        assert 0 <= number < 10_000, number
        return self.data.replace(_RUN, b"%04d" % number)


def _head(line: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([line, *fields, b"", b""])


def _path(name: bytes) -> bytes:
    return b"/app/" + FACET.encode() + b"/" + name


_HOST: Final = b"Host: localhost"
_OUTER: Final = b"X-Request-ID: " + OUTER
_GET: Final = b"GET " + _path(b"outer") + b" HTTP/1.1"
_POST: Final = b"POST " + _path(b"outer") + b" HTTP/1.1"
_TE: Final = b"Transfer-Encoding: chunked"
#: The request that must not be served where the one before it is refused.
_INNER: Final = _head(b"GET " + _path(b"inner") + b" HTTP/1.1", _HOST, b"X-Request-ID: " + INNER)
_CHUNKS: Final = b"5\r\nhello\r\n0\r\n\r\n"


def _length(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


def _post(*fields: bytes, body: bytes = b"", line: bytes = _POST) -> bytes:
    return _head(line, _HOST, _OUTER, *fields) + body


def _get(*fields: bytes, line: bytes = _GET) -> bytes:
    return _head(line, _HOST, _OUTER, *fields) + _INNER


def _chunked(body: bytes) -> bytes:
    return _post(_TE, body=body + _INNER)


def _both() -> Iterator[tuple[str, bytes, Outcome]]:
    hidden = b"0\r\n\r\n" + _INNER
    whole = b"%x\r\n%s\r\n0\r\n\r\n" % (len(_INNER), _INNER)
    yield "CL counts, TE is chunked (CL.TE)", _post(_length(hidden), _TE, body=hidden), BAD
    yield "TE counts, CL is short (TE.CL)", _post(_TE, b"Content-Length: 4", body=whole), BAD
    yield "CL 0 and TE", _post(b"Content-Length: 0", _TE, body=_CHUNKS + _INNER), BAD
    yield "TE and an empty CL", _post(_TE, b"Content-Length:", body=_CHUNKS + _INNER), BAD
    yield "CL and TE ``identity``", _post(_length(_INNER), b"Transfer-Encoding: identity", body=_INNER), BAD
    yield "CL and TE on HTTP/1.0", _post(_length(hidden), _TE, body=hidden, line=_POST[:-1] + b"0"), BAD
    yield "CL and TE on GET", _head(_GET, _HOST, _OUTER, _length(hidden), _TE) + hidden, BAD
    yield "CL and ``TE: chunked``", _post(_length(hidden), b"TE: chunked", body=hidden), OK
    yield (
        "CL and ``Transfer_Encoding``",
        _post(_length(hidden), b"Transfer_Encoding: chunked", body=hidden),
        OK,
    )
    yield "CL and ``X-Transfer-Encoding``", _post(_length(hidden), b"X-" + _TE, body=hidden), OK


def _codings() -> Iterator[tuple[str, bytes, Outcome]]:
    for value in (
        b"identity",
        b"gzip, chunked",
        b"chunked, chunked",
        b"chunked, identity",
        b"identity, chunked",
    ):
        yield f"``{value.decode()}``", _post(b"Transfer-Encoding: " + value, body=_CHUNKS + _INNER), BAD
    for value in (
        b"xchunked",
        b"chunked;q=1",
        b'"chunked"',
        b",chunked",
        b"chunked,",
        b"chunked chunked",
        b"c hunked",
    ):
        yield f"``{value.decode()}``", _post(b"Transfer-Encoding: " + value, body=_CHUNKS + _INNER), BAD
    for name, value in (
        ("empty", b""),
        ("VT before", b"\x0bchunked"),
        ("FF behind", b"chunked\x0c"),
        ("NUL behind", b"chunked\0"),
        ("NBSP before", b"\xa0chunked"),
        ("zero-width space before", b"\xe2\x80\x8bchunked"),
        ("folded", b"\r\n chunked"),
        ("folded, with something before", b"identity,\r\n\tchunked"),
        ("bare CR before", b"\rchunked"),
    ):
        yield name, _post(b"Transfer-Encoding: " + value, body=_CHUNKS + _INNER), BAD
    yield "twice", _post(_TE, _TE, body=_CHUNKS + _INNER), BAD
    yield "twice, ``identity`` second", _post(_TE, b"Transfer-Encoding: identity", body=_CHUNKS + _INNER), BAD
    for name, field in (
        ("space before the colon", b"Transfer-Encoding : chunked"),
        ("tab before the colon", b"Transfer-Encoding\t: chunked"),
        ("space before the name", b" Transfer-Encoding: chunked"),
        ("NUL in the name", b"Transfer-Encoding\0: chunked"),
        ("NUL before the name", b"\0Transfer-Encoding: chunked"),
        ("behind a bare LF", b"X: y\nTransfer-Encoding: chunked"),
        ("behind a bare CR", b"X: y\rTransfer-Encoding: chunked"),
        ("LF before the name", b"\nTransfer-Encoding: chunked"),
        ("no colon", b"Transfer-Encoding chunked"),
        ("8 bits in the name", b"Transfer-Encoding\xff: chunked"),
    ):
        yield name, _post(field, _length(_INNER), body=_INNER), BAD
    yield "on HTTP/1.0", _post(_TE, body=_CHUNKS + _INNER, line=_POST[:-1] + b"0"), BAD
    yield "other letters, tabs around", _post(b"tRANSFER-eNCODING:\t ChUnKeD \t", body=_CHUNKS + _INNER), BOTH


def _lengths() -> Iterator[tuple[str, bytes, Outcome]]:
    five = b"Content-Length: 5"
    yield "twice, equal", _post(five, five, body=b"hello" + _INNER), BAD
    yield "twice, different", _post(five, _length(_INNER), body=_INNER), BAD
    for value in (
        b"5, 5",
        b"5,6",
        b"+5",
        b"-5",
        b"5 5",
        b"5,",
        b"5;",
        b"0x5",
        b"5.0",
        b"5e0",
        b"1_0",
        b'"5"',
        b"5\x0b",
    ):
        name = f"``{value.decode()}``" if value.isascii() and value.decode().isprintable() else "VT behind"
        yield name, _post(b"Content-Length: " + value, body=b"hello" + _INNER), BAD
    for name, value in (
        ("zero in front", b"05"),
        ("two zeros", b"00"),
        ("empty", b""),
        ("2^64 and 5", b"18446744073709551621"),
        ("4,000 digits", b"9" * 4000),
        ("superscript two", b"\xb2"),
        ("Arabic digit five", "\u0665".encode()),
        ("NBSP before", b"\xa05"),
        ("folded", b"\r\n 5"),
        ("letters", b"abc"),
    ):
        yield name, _post(b"Content-Length: " + value, body=b"hello" + _INNER), BAD
    yield "2^63 - 1", _post(b"Content-Length: 9223372036854775807", body=_INNER), TOO_LARGE
    yield "space before the colon", _post(b"Content-Length : 5", body=b"hello" + _INNER), BAD
    yield "NUL in the name", _post(b"Content-Length\0: 5", body=b"hello" + _INNER), BAD
    yield "``Content_Length`` is another field", _post(b"Content_Length: 5", body=_INNER), BOTH
    yield "white space around", _post(b"Content-Length:\t 5 \t", body=b"hello" + _INNER), BOTH
    yield "more than comes", _post(b"Content-Length: %d" % (len(_INNER) + 5), body=_INNER), LATE
    yield (
        "less than comes",
        _post(b"Content-Length: 3", body=b"hello" + _INNER),
        Outcome((200, 405), closes=False),
    )


def _bodies() -> Iterator[tuple[str, bytes, Outcome]]:
    for method in (b"GET", b"HEAD", b"DELETE"):
        line = _GET.replace(b"GET", method)
        wants = TOO_LARGE if method == b"GET" else Outcome((405,))
        name = method.decode()
        yield f"{name} with a body", _post(_length(_INNER), body=_INNER, line=line), wants
    yield "GET with chunks", _post(_TE, body=_CHUNKS + _INNER, line=_GET), TOO_LARGE
    nowhere = _POST.replace(_path(b"outer"), b"/nowhere")
    yield "to a path that is not there", _post(_length(_INNER), body=_INNER, line=nowhere), Outcome((404,))
    yield (
        "an upload that is not there, in chunks",
        _post(_TE, body=_CHUNKS + _INNER, line=nowhere),
        Outcome((404,)),
    )
    wants_continue = b"Expect: 100-continue"
    yield "``Expect``, and the body", _post(_length(b"hello"), wants_continue, body=b"hello" + _INNER), BOTH
    for value in (b"", b"200-ok", b"y 100-continue", b"100-continue, 100-continue", b"100-continue;q=1"):
        field = b"Expect: " + value
        yield f"``{field.decode().strip()}``", _post(_length(_INNER), field, body=_INNER), Outcome((417,))
    yield (
        "``Expect`` twice",
        _post(_length(_INNER), wants_continue, wants_continue, body=_INNER),
        Outcome((417,)),
    )
    yield "``Expect`` and both lengths", _post(b"Content-Length: 5", _TE, wants_continue, body=_INNER), BAD
    yield "``Expect`` without a body", _get(wants_continue), BOTH


def _chunking() -> Iterator[tuple[str, bytes, Outcome]]:
    for name, size in (
        ("``0x5``", b"0x5"),
        ("``-5``", b"-5"),
        ("``+5``", b"+5"),
        ("``5,5``", b"5,5"),
        ("``5 5``", b"5 5"),
        ("``5_``", b"5_"),
        ("``5h``", b"5h"),
        ("space before", b" 5"),
        ("space behind", b"5 "),
        ("tab behind", b"5\t"),
        ("VT behind", b"5\x0b"),
        ("NUL behind", b"5\0"),
        ("bare CR behind", b"5\r"),
        ("empty", b""),
        ("9 digits", b"000000005"),
        ("17 digits", b"10000000000000005"),
        ("folded", b"\r\n 5"),
        ("fullwidth digit", "\uff15".encode()),
    ):
        yield f"size: {name}", _chunked(size + b"\r\nhello\r\n0\r\n\r\n"), BAD
    yield "size: ends in a bare LF", _chunked(b"5\nhello\r\n0\r\n\r\n"), BAD
    yield "size: ends in CR and another byte", _chunked(b"5\rXhello\r\n0\r\n\r\n"), BAD
    yield "size: 2^32 - 1", _chunked(b"ffffffff\r\nhello"), TOO_LARGE
    yield "size: larger than the chunk", _chunked(b"6\r\nhello\r\n0\r\n\r\n"), BAD
    yield "size: smaller than the chunk", _chunked(b"4\r\nhello\r\n0\r\n\r\n"), BAD
    yield "data: ends in a bare LF", _chunked(b"5\r\nhello\n0\r\n\r\n"), BAD
    yield "data: ends in a bare CR", _chunked(b"5\r\nhello\r0\r\n\r\n"), BAD
    yield "data: no end", _chunked(b"5\r\nhello0\r\n\r\n"), BAD
    yield "end: bare LFs", _chunked(b"5\r\nhello\r\n0\n\n"), BAD
    yield "end: bare LF behind CR LF", _chunked(b"5\r\nhello\r\n0\r\n\n"), BAD
    yield "end: bare CR behind CR LF", _chunked(b"5\r\nhello\r\n0\r\n\rX"), BAD
    yield "end: no empty line", _chunked(b"5\r\nhello\r\n0\r\n"), BAD
    yield "end: two empty lines too many", _chunked(_CHUNKS + b"\r\n\r\n"), Outcome((200, 400))
    yield "end: never", _post(_TE, body=b"5\r\nhello\r\n"), LATE
    yield "end: three zeros", _chunked(b"5\r\nhello\r\n000\r\n\r\n"), BOTH
    yield "extension", _chunked(b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n'), BOTH
    yield "extension behind white space", _chunked(b"5 \t;a\r\nhello\r\n0\r\n\r\n"), BOTH
    for name, extension in (
        ("bare LF", b";a\nb"),
        ("bare CR", b";a\rb"),
        ("NUL", b";a\0b"),
        ("8 bits", b";a=\xff"),
        ("over 1 KiB", b";" + b"a" * 1100),
    ):
        yield f"extension: {name}", _chunked(b"5" + extension + b"\r\nhello\r\n0\r\n\r\n"), BAD
    yield (
        "a thousand extensions, outweighing the body",
        _chunked(b"1;" + (b"a" * 900 + b"\r\nx\r\n1;") * 200),
        BAD,
    )
    yield "trailer", _chunked(b"5\r\nhello\r\n0\r\nX-Check: 1\r\n\r\n"), BOTH
    for name, trailer in (
        ("``Content-Length``", b"Content-Length: 99"),
        ("``Transfer-Encoding``", b"transfer-encoding: chunked"),
        ("``Host``", b"Host: another"),
        ("no colon", b"X-Check"),
        ("space before the colon", b"X-Check : 1"),
        ("folded", b"X-Check: 1\r\n 2"),
        ("bare LF", b"X-Check: 1\nContent-Length: 99"),
        ("bare CR", b"X-Check: 1\rContent-Length: 99"),
        ("NUL", b"X-Check: \0"),
        ("a request", b"GET / HTTP/1.1"),
        ("65 KiB", b"\r\n".join([b"X: " + b"a" * 1000] * 70)),
    ):
        yield f"trailer: {name}", _chunked(b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n"), BAD


def _lines() -> Iterator[tuple[str, bytes, Outcome]]:
    yield "bare LFs all over", _get().replace(b"\r\n", b"\n"), BAD
    yield "an end of bare LFs", _head(_GET, _HOST, _OUTER)[:-4] + b"\n\n" + _INNER, BAD
    yield "an end of LF, CR LF", _head(_GET, _HOST, _OUTER)[:-4] + b"\n\r\n" + _INNER, BAD
    yield "an end of CR LF, LF", _head(_GET, _HOST, _OUTER)[:-2] + b"\n" + _INNER, BAD
    yield "an end of CR LF, CR", _head(_GET, _HOST, _OUTER)[:-2] + b"\rX: y\r\n\r\n" + _INNER, BAD
    yield "an end of CR CR LF", _head(_GET, _HOST, _OUTER)[:-2] + b"\r\r\n" + _INNER, BAD
    for name, field in (
        ("folded", b"X: y\r\n z"),
        ("folded with a tab", b"X: y\r\n\tz"),
        ("bare LF in a value", b"X: y\nZ: z"),
        ("bare CR in a value", b"X: y\rZ: z"),
        ("NUL in a value", b"X: y\0z"),
        ("VT in a value", b"X: y\x0bz"),
        ("DEL in a value", b"X: y\x7f"),
        ("NUL in a name", b"X\0: y"),
        ("space in a name", b"X Y: z"),
        ("brackets in a name", b"X[]: y"),
        ("8 bits in a name", b"X\xff: y"),
        ("empty name", b": y"),
        ("no colon", b"XY"),
        ("space before the colon", b"X : y"),
    ):
        yield f"field: {name}", _get(field), BAD
    yield "field: first one folded", _head(_GET, b" " + _HOST, _HOST, _OUTER) + _INNER, BAD
    yield "field: 128 and more", _get(*[b"X: y"] * 128), Outcome((431,))
    yield "field: 16 KiB", _get(b"X: " + b"y" * 16_384), Outcome((431,))
    for name, line in (
        ("two spaces", _GET.replace(b" ", b"  ")),
        ("tab for a space", _GET.replace(b" ", b"\t", 1)),
        ("VT for a space", _GET.replace(b" ", b"\x0b", 1)),
        ("space in front", b" " + _GET),
        ("space at the end", _GET + b" "),
        ("tab at the end", _GET + b"\t"),
        ("NUL at the end", _GET + b"\0"),
        ("bare CR inside", _GET.replace(b"outer", b"out\rer")),
        ("NUL in the method", _GET.replace(b"GET", b"GE\0T")),
        ("space in the path", _GET.replace(b"outer", b"out er")),
        ("8 bits in the path", _GET.replace(b"outer", b"out\xffer")),
        ("no version", _GET.replace(b" HTTP/1.1", b"")),
        ("HTTP/0.9", _GET.replace(b"1.1", b"0.9")),
        ("HTTP/1.2", _GET.replace(b"1.1", b"1.2")),
        ("HTTP/1.10", _GET.replace(b"1.1", b"1.10")),
        ("HTTP/01.1", _GET.replace(b"1.1", b"01.1")),
        ("HTTP/2.0", _GET.replace(b"1.1", b"2.0")),
        ("http/1.1", _GET.replace(b"HTTP", b"http")),
        ("two versions", _GET + b" HTTP/1.0"),
    ):
        yield f"line: {name}", _get(line=line), BAD
    yield "line: one empty line before", b"\r\n" + _get(), BOTH
    yield "line: two empty lines before", b"\r\n\r\n" + _get(), BAD
    yield "line: LF before", b"\n" + _get(), BAD
    yield "HTTP/0.9, a line alone", b"GET " + _path(b"outer") + b"\r\n" + _INNER, BAD
    yield "HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9) + _INNER, BAD
    yield "a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32) + _INNER, BAD
    yield "a head that never ends", _head(_GET, _HOST, _OUTER)[:-2], LATE


def _targets() -> Iterator[tuple[str, bytes, Outcome]]:
    for name, fields in (
        ("no ``Host``", (_OUTER,)),
        ("two ``Host``, equal", (_HOST, _OUTER, _HOST)),
        ("two ``Host``, different", (_HOST, _OUTER, b"Host: another")),
        ("``Host`` and a folded one", (_HOST, b" Host: another", _OUTER)),
        ("empty ``Host``", (b"Host:", _OUTER)),
        ("``Host``: a list", (b"Host: localhost, another", _OUTER)),
        ("``Host``: a list without blanks", (b"Host: localhost,another", _OUTER)),
        ("``Host``: white space inside", (b"Host: localhost another", _OUTER)),
        ("``Host``: a path", (b"Host: localhost/app", _OUTER)),
        ("``Host``: a user", (b"Host: a@localhost", _OUTER)),
        ("``Host``: NUL", (b"Host: localhost\0another", _OUTER)),
        ("``Host``: no port", (b"Host: localhost:http", _OUTER)),
    ):
        yield name, _head(_GET, *fields) + _INNER, BAD
    for name, target, outcome in (
        ("absolute, the same host", b"http://localhost" + _path(b"outer"), BOTH),
        ("absolute, another host", b"http://another" + _path(b"outer"), BAD),
        ("absolute, another port", b"http://localhost:81" + _path(b"outer"), BAD),
        ("absolute, a user", b"http://a@localhost" + _path(b"outer"), BAD),
        ("absolute, no HTTP", b"ftp://localhost" + _path(b"outer"), BAD),
        ("absolute, one slash", b"http:/localhost" + _path(b"outer"), BAD),
        ("an authority alone", b"localhost:80", BAD),
        ("an asterisk", b"*", BAD),
        ("a fragment", _path(b"outer") + b"#x", BAD),
        ("no slash in front", _path(b"outer")[1:], BAD),
        ("two slashes in front", b"/" + _path(b"outer"), Outcome((404, 200), closes=False)),
    ):
        yield name, _get(line=b"GET " + target + b" HTTP/1.1"), outcome
    yield "absolute without ``Host``", _head(b"GET http://localhost/ HTTP/1.1", _OUTER) + _INNER, BAD
    yield "CONNECT", _get(line=b"CONNECT localhost:80 HTTP/1.1"), BAD
    yield "CONNECT with a path", _get(line=b"CONNECT " + _path(b"outer") + b" HTTP/1.1"), BAD
    yield "OPTIONS of an asterisk", _get(line=b"OPTIONS * HTTP/1.1"), BAD


def _connections() -> Iterator[tuple[str, bytes, Outcome]]:
    for name in (b"Content-Length", b"transfer-encoding", b"HOST"):
        field = b"Connection: close, " + name
        yield f"``{field.decode()}``", _post(field, _length(b"hello"), body=b"hello" + _INNER), BAD
    yield (
        "``Connection`` twice, the second naming CL",
        _get(b"Connection: x", b"Connection: content-length"),
        BAD,
    )
    yield "``Connection: close``", _get(b"Connection: close"), LAST
    yield "``Connection: keep-alive, close``", _get(b"Connection: keep-alive, close"), LAST
    yield "``Proxy-Connection: keep-alive``", _get(b"Proxy-Connection: keep-alive"), BOTH
    yield "HTTP/1.0", _get(line=_GET[:-1] + b"0"), LAST
    yield "HTTP/1.0 and ``keep-alive``", _get(b"Connection: keep-alive", line=_GET[:-1] + b"0"), LAST
    h2c = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAA")
    yield "``Upgrade: h2c`` is ignored", _get(*h2c), BOTH
    yield "``Upgrade: h2c`` with a body", _post(*h2c, _length(b"hello"), body=b"hello" + _INNER), BOTH
    websocket = (
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    yield "``Upgrade: websocket`` is ignored", _get(*websocket, b"Sec-WebSocket-Version: 13"), BOTH
    yield "two requests in one piece", _get(), BOTH
    yield "two with bodies in one piece", _post(_length(b"hello"), body=b"hello" + _INNER), BOTH


GROUPS: Final = {
    "Content-Length and Transfer-Encoding": _both,
    "Transfer-Encoding": _codings,
    "Content-Length": _lengths,
    "Bodies that nobody asked for, and Expect": _bodies,
    "Chunks": _chunking,
    "Lines and fields": _lines,
    "Targets and Host": _targets,
    "Connections": _connections,
}
PAYLOADS: Final = tuple(
    Payload(group, name, data, outcome) for group, made in GROUPS.items() for name, data, outcome in made()
)
