"""Calls by both doors, of each owner: sent first and heard later, so that others can be made meanwhile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

import attrs

from micronode.oap.wire.profiles import Profile
from tests.cli.processes import PATIENCE_S
from tests.contracts.owner_storage import address
from tests.support.live import LiveCaller
from tests.support.oap import body, start

#: The corpus: an object of each size. What is in them is text, so that the index takes them, too.
SMALL: Final = b"hello world\n"
LARGE: Final = b"".join(b"line %7d of a large object\n" % number for number in range(10_000))
CORPUS: Final = {"hello.md": SMALL, "large.txt": LARGE}
#: What only a peer of the overlay has.
FAR: Final = b"hello from afar\n"
FAR_CORPUS: Final = {"far.md": FAR}
JSON: Final = {"Content-Type": "application/json"}


@attrs.frozen
class Asked:
    """One call, as each door takes it."""

    method: str
    path: str
    profile: int
    op: str
    args: Mapping[str, Any]
    headers: Mapping[str, str] = attrs.field(factory=dict)
    #: Over HTTP, and where *streams* over OAP/1, too.
    body: bytes = b""
    streams: bool = False
    #: Further members of the head over OAP/1.
    head: Mapping[str, Any] = attrs.field(factory=dict)


def _get(data: bytes) -> Asked:
    cid = address(data)
    return Asked("GET", f"/app/media/{cid}", Profile.MEDIA, "get", {"cid": cid})


CALLS: Final[Mapping[str, Asked]] = {
    "resolve": Asked(
        "GET", "/app/graph/resolve/name:hello.md", Profile.GRAPH, "resolve", {"key": "name:hello.md"}
    ),
    "search": Asked("GET", "/app/search?q=hello", Profile.SEARCH, "query", {"q": "hello"}),
    "get_small": _get(SMALL),
    "get_large": _get(LARGE),
    "get_far": _get(FAR),
    "send": Asked(
        "POST",
        "/app/feed/jobs",
        Profile.FEED,
        "send",
        {"topic": "jobs"},
        headers={"Idempotency-Key": "http"},
        body=b"something to do",
        streams=True,
        head={"idempotency_key": "oap"},
    ),
    "recv": Asked("POST", "/app/feed/jobs/recv", Profile.FEED, "recv", {"topic": "jobs"}),
    "put": Asked("POST", "/app/media", Profile.MEDIA, "put", {}, body=b"something new", streams=True),
}


@attrs.define
class Ended:
    """How a call ended.

    :ivar status: that of the head, or of the error where there was none.
    :ivar code: the error's name; empty: none, or, over HTTP, an answer that broke off.
    :ivar late: it broke off.
    """

    status: int
    body: bytes = b""
    code: str = ""
    message: str = ""
    late: bool = False
    #: In seconds; None: nothing is said.
    retry_after_s: float | None = None


class OverHTTP:
    """One call over HTTP, which was sent."""

    def __init__(self, address: str, asked: Asked) -> None:
        self._connection = HTTPConnection(address, timeout=PATIENCE_S)
        self._connection.request(asked.method, asked.path, asked.body or None, dict(asked.headers))

    def hear(self, most: int | None = None) -> Ended:
        """Return how it ended; where *most* is given, hang up after so many bytes of the body."""
        response = self._connection.getresponse()
        try:
            data, late = response.read(most), False
        except (HTTPException, ConnectionError):
            data, late = b"", True
        finally:
            self._connection.close()
        ended = Ended(response.status, data, late=late)
        said = response.getheader("Retry-After")
        ended.retry_after_s = None if said is None else float(said)
        if response.status >= 400 and data:
            error = json.loads(data)
            ended.code, ended.message = error["code"], error["message"]
        return ended

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


class OverOAP:
    """One call over OAP/1, which was sent on a connection of its own."""

    def __init__(self, address: str, asked: Asked) -> None:
        self._caller = LiveCaller(address)
        self._caller.greet()
        self._caller.say(
            start(1, asked.profile, asked.op, dict(asked.args), ended=not asked.streams, **asked.head)
        )
        if asked.streams:
            self._caller.say(body(1, asked.body, ended=True, app=asked.profile))

    def hear(self, most: int | None = None) -> Ended:
        """See :meth:`OverHTTP.hear`."""
        caller, ended = self._caller, Ended(0)
        try:
            while True:
                frame = caller.hear()
                assert frame is not None, "the node closed the connection"
                if frame.code >= 400:
                    error = frame.json
                    ended.late = ended.status != 0
                    ended.status = ended.status or frame.code
                    ended.code, ended.message = error["code"], error["message"]
                    said = error.get("retry_after_ms")
                    ended.retry_after_s = None if said is None else said / 1000
                    return ended
                if not ended.status:
                    ended.status = frame.json["status"]
                else:
                    ended.body += frame.payload
                if frame.ends or (most is not None and len(ended.body) >= most):
                    return ended
        finally:
            caller.close()

    def close(self) -> None:
        """Hang up."""
        self._caller.close()


#: Door -> how it is called.
DOORS: Final = {"http": OverHTTP, "oap": OverOAP}
