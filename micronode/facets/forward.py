"""What goes through a custom facet: of a caller's request to the service, of its answer to the caller.

Pure: no IO, and nothing of the configuration but which fields may pass. ``docs/FACETS.rst`` has the rules as
a table. Authority and method are not here, since they never come from the caller: one is the facet's
upstream, the other its route's.

Whatever is refused is ``bad_request`` and says by which rule; the last gate before the wire
(:mod:`micronode.adapters.requesthead`) looks at every byte again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

from micronode.config.routes import has_dots
from micronode.errors import ErrorCode, NodeError

#: Fields that say who the caller is: passed on only where the configuration says so.
SECRET_FIELDS: Final = ("authorization", "cookie")

#: Fields of the connection to the node, and of nothing behind it (RFC 9110 section 7.6.1).
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
#: What the node says itself, or has read in the caller's place.
_NODES: Final = frozenset(
    {
        "content-length",
        "expect",
        "forwarded",
        "host",
        # CGI makes HTTP_PROXY of it, which HTTP clients obey.
        "proxy",
        "remote-user",
        "traceparent",
        "x-real-ip",
        "x-remote-user",
        "x-request-id",
        "x-tenant-id",
    }
)
_NODES_PREFIXES: Final = ("x-forwarded-", "x-micronode-", "x-original-")
#: By which frameworks take another method, path or address than the request's: the route is decided by then.
_OVERRIDES: Final = frozenset(
    {
        "cf-connecting-ip",
        "client-ip",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-host",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-rewrite-url",
        "x-script-name",
    }
)
_NOT_TAKEN: Final = _HOP_BY_HOP | _NODES | _OVERRIDES
#: What an answer may not say: it would hold for every facet of the same origin, or is the node's to say.
_NOT_ANSWERED: Final = _HOP_BY_HOP | {
    "accept-ch",
    "alt-svc",
    "clear-site-data",
    "content-length",
    "nel",
    "origin-agent-cluster",
    "public-key-pins",
    "report-to",
    # Lets a script of this facet answer in the browser for all the others.
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
}
_NOT_ANSWERED_PREFIXES: Final = ("access-control-", "x-micronode-")

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Field values hold no control characters but tabs (RFC 9110 section 5.5).
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNQUOTED: Final = re.compile(r"[^\x21-\x7e]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
#: What servlet containers take out of a path before they look at it: ``/..;x/`` is ``/../`` to them.
_PARAMETERS: Final = re.compile(r";[^/]*")
#: Gateway interfaces make one letter of all these.
_ODD: Final = re.compile(r"[^0-9a-z-]")


def check_target(target: str) -> tuple[str, ...]:
    """Hold a request target against the rules.

    :param target: path and query as they are sent, quoted.
    :return: its path as it is, and each other way in which a service may read it: once decoded, and without
        ``;parameters``, too.
    :raises NodeError: ``bad_request``, saying which rule it breaks.
    """
    path = target.partition("?")[0]
    if not path.startswith("/"):
        raise _bad("the path must begin with /")
    if found := _UNQUOTED.search(target):
        odd = found[0]
        what = "a space" if odd == " " else "a control character" if odd < "\xa0" else "what is no ASCII"
        raise _bad(f"the path or query holds {what}; it must be percent-quoted")
    if "#" in target:
        raise _bad("the path or query holds a #")
    decoded = path
    if "%" in path:
        if _BAD_ESCAPE.search(path):
            raise _bad("the path holds a broken percent escape")
        # Bytes as letters: what a service makes of them is its own business.
        decoded = unquote_to_bytes(path).decode("latin-1")
        if found := _CONTROL.search(decoded):
            what = "a NUL" if found[0] == "\0" else "a control character"
            raise _bad(f"the path holds {what} (%{ord(found[0]):02X})")
    if "\\" in decoded:
        raise _bad("the path holds a backslash")
    bare = _PARAMETERS.sub("", decoded) if ";" in decoded else decoded
    if "//" in bare:
        raise _bad("the path holds //, as it is or once decoded, or an empty segment with parameters")
    if "." in bare and has_dots(bare):
        raise _bad("the path holds a segment . or .., which the next reader may resolve")
    return tuple(dict.fromkeys((path, decoded, bare)))


def request_fields(given: Iterable[tuple[str, str]], allowed: Collection[str]) -> list[tuple[bytes, bytes]]:
    """Return which of the fields *given* go on to the service, names in small letters.

    :param allowed: those of :data:`SECRET_FIELDS` that may.
    :raises NodeError: ``bad_request`` for a name that is no token, or stands there twice, or a value with a
        control character.
    """
    passed: list[tuple[bytes, bytes]] = []
    seen: set[str] = set()
    named: set[str] = set()
    for name, value in given:
        if not _TOKEN.fullmatch(name):
            raise _bad("the name of a header field is no token")
        if not _VALUE.fullmatch(value):
            raise _bad(f"the value of header field {name.lower()} holds a character that no value may")
        name = name.lower()
        if name == "connection":
            named.update(each.strip(" \t").lower() for each in value.split(","))
        if is_passed_on(name, allowed):
            if name in seen:
                # Which one counts is for every reader to choose.
                raise _bad(f"header field {name} is there twice")
            seen.add(name)
            passed.append((name.encode("ascii"), value.strip(" \t").encode("latin-1")))
    if named:
        passed = [field for field in passed if field[0].decode("ascii") not in named]
    return passed


def is_passed_on(name: str, allowed: Collection[str] = ()) -> bool:
    """Whether the caller's field *name*, in small letters, goes on to the service.

    Read as a gateway interface does: ``X_Micronode_Tenant`` is the same as ``X-Micronode-Tenant`` to a WSGI
    program, so it is none of the caller's either.
    """
    plain = _ODD.sub("-", name)
    if plain in _NOT_TAKEN or plain.startswith(_NODES_PREFIXES):
        return False
    return plain not in SECRET_FIELDS or (name == plain and name in allowed)


def answer_fields(given: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return which of an answer's fields, names in small letters, go on to the caller."""
    return [
        (name, value)
        for name, value in given
        if name not in _NOT_ANSWERED and not name.startswith(_NOT_ANSWERED_PREFIXES)
    ]


def _bad(message: str) -> NodeError:
    return NodeError(ErrorCode.BAD_REQUEST, message)
