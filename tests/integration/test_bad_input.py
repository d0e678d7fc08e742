"""Names, ranges and arguments that are none, by both doors, before a real node and real owners.

Each is refused with a word for it, or reaches its owner whole, quoted, as the name of something that is not
there; nothing of it becomes a path, a field or a defect.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

import attrs
from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.profiles import Profile
from tests.cli.processes import PATIENCE_S
from tests.contracts.owner_storage import address
from tests.support.matrixcalls import CORPUS, SMALL, Asked, OverOAP
from tests.support.switched import OwnersProgram, SwitchedNode

CID: Final = address(SMALL)
Said = tuple[int, str]
GOOD: Final[Said] = (200, "")
BAD: Final[Said] = (400, "bad_request")
NONE: Final[Said] = (404, "not_found")


@attrs.frozen
class Place:
    """Where a name may stand: before and behind it over HTTP, and as which argument over OAP/1."""

    before: str
    behind: str
    profile: int
    op: str
    argument: str
    #: What is made of a name that is well formed.
    unknown: Said
    args: Mapping[str, Any] = attrs.field(factory=dict)
    method: str = "GET"


PLACES: Final = (
    Place("/app/graph/neighbors/", "", Profile.GRAPH, "neighbors", "node", NONE),
    # These two know names by their form.
    Place("/app/graph/resolve/", "", Profile.GRAPH, "resolve", "key", BAD),
    Place("/app/graph/providers/", "", Profile.GRAPH, "providers", "cid", BAD),
    Place("/app/graph/resolve/name:", "", Profile.GRAPH, "resolve", "key", NONE),
    Place("/app/media/", "", Profile.MEDIA, "get", "cid", BAD),
    Place("/app/search?q=", "", Profile.SEARCH, "query", "q", GOOD),
    Place("/app/feed/", "/recv", Profile.FEED, "recv", "topic", GOOD, method="POST"),
    Place("/app/feed/t/ack/", "", Profile.FEED, "ack", "msg_id", NONE, {"topic": "t"}, method="POST"),
)
#: Names that are refused wherever they stand.
REFUSED: Final = ("a\0b", "\0", "x" * 10_000)
#: Those that one segment of a path cannot be, the caller's or the owner's.
CLIMBING: Final = (".", "..")
#: Those that are names like others, if they are quoted whole.
ODD: Final = (
    "//",
    "a/../b",
    "../../etc/passwd",
    "a?b#c",
    "a;b=c",
    "a&limit=1",
    "%2e%2e",
    "%00",
    "a b+c",
    "...",
)
#: What is no text over HTTP, and has no like over OAP/1.
BROKEN: Final = ("%ff", "%", "a%2", "%zz", "%c0%ae", "%ed%a0%80", "%00", "x" * 10_000)
#: A text with something in it that a topic must not have.
CONTROLS: Final = ("a\r\nX-Y: z", "a\x7f", "\u202e")


@attrs.frozen
class Case:
    """One call and what comes of it; no target: it cannot be said over HTTP."""

    target: str
    asked: Asked
    said: Said


def names() -> Iterator[Case]:
    for place in PLACES:
        for name in (*REFUSED, *CLIMBING, *ODD, *CONTROLS):
            said = place.unknown
            climbs = name in CLIMBING and not place.before.endswith("name:")
            if name in REFUSED or climbs or (name in CONTROLS and place.op == "recv"):
                said = BAD
            whole = name if not place.before.endswith("name:") else f"name:{name}"
            args = {**place.args, place.argument: whole}
            asked = Asked(place.method, "", place.profile, place.op, args)
            yield Case(place.before + quote(name, safe="") + place.behind, asked, said)
        for text in BROKEN:
            asked = Asked(place.method, "", place.profile, place.op, {})
            yield Case(place.before + text + place.behind, asked, BAD)


def get(fields: Mapping[str, str], said: Said, **more: str) -> Case:
    """Return a get of the object, with *fields* over HTTP."""
    args = {"cid": CID, **{name.lower().replace("-", "_"): value for name, value in fields.items()}, **more}
    asked = Asked("GET", "", Profile.MEDIA, "get", args, headers=fields)
    return Case(f"/app/media/{CID}", asked, said)


def ranges() -> Iterator[Case]:
    # RFC 9110 section 14.2: what is no range, or several, may be ignored; what is beyond the end is told.
    for text in (
        "bytes=5-2",
        "bytes=abc",
        "bytes=",
        "items=0-1",
        "bytes=0-1,3-4",
        "bytes=0-" + "9" * 30,
        ",",
    ):
        yield get({"Range": text}, GOOD)
    for text in ("bytes=12-", "bytes=999-1000", "bytes=-0"):
        yield get({"Range": text}, (416, "range_not_satisfiable"))
    for text in ("bytes=0-0", "bytes=-5", "bytes=11-99"):
        yield get({"Range": text}, (206, ""))
    yield get({"Range": "bytes=" + "0" * 5_000 + "-1"}, BAD)
    yield get({"If-None-Match": "W/" * 100}, GOOD)
    yield get({"If-None-Match": f'"{CID[3:]}"'}, (304, ""))
    yield get({"Range": "bytes=0-0", "If-Range": '"another"'}, GOOD)


def arguments() -> Iterator[Case]:
    for query, args in (
        ("limit=0", {"limit": 0}),
        ("limit=51", {"limit": 51}),
        ("limit=-1", {"limit": -1}),
        ("limit=a", {"limit": "a"}),
        ("limit=1.5", {"limit": 1.5}),
        ("limit=1e1", {"limit": True}),
        ("limit=", {"limit": ""}),
        ("limit=%D9%A1", {"limit": "\u0661"}),
        ("offset=" + "9" * 400, {"offset": 2**53}),
        ("q=y", {"q": ["x", "y"]}),
    ):
        asked = Asked("GET", "", Profile.SEARCH, "query", {"q": "x", **args})
        yield Case(f"/app/search?q=x&{query}", asked, BAD)
    for query, length in (("x" * 1_025, 1_025), ("%F0%9F%99%82" * 1_025, 1_025)):
        asked = Asked("GET", "", Profile.SEARCH, "query", {"q": "x" * length})
        yield Case(f"/app/search?q={query}", asked, BAD)
    for text in ('"', "( AND", "NEAR/2", "*", "'; --", "a:b", "-x"):
        asked = Asked("GET", "", Profile.SEARCH, "query", {"q": text})
        yield Case(f"/app/search?q={quote(text, safe='')}", asked, GOOD)


class BadInputTests(SynchronousTestCase):
    def test_every_case(self) -> None:
        owners = OwnersProgram(self, CORPUS)
        self.node = SwitchedNode(
            self, {"facets.media": {"enabled": True}, "drain": {"grace": "0s", "deadline": "0s"}}
        )
        self.node.switch({name: owners.urls[name] for name in ("index", "storage", "mailbox")})
        differs = []
        for case in (*names(), *ranges(), *arguments()):
            for door in (self.over_http, self.over_oap):
                said = door(case)
                if said != case.said:
                    differs.append(f"{door.__name__} {case.target[:80]} {case.asked.args!s:.80}: {said}")
        self.assertEqual(differs, [], "\n".join(differs))
        for program in (self.node.program, owners):
            self.assertNotIn("Traceback", program.complained)
        self.node.stop()

    def over_http(self, case: Case) -> Said:
        """Ask byte for byte: a client would mend it."""
        asked = case.asked
        host, _, port = self.node.http.rpartition(":")
        fields = [f"{name}: {value}" for name, value in asked.headers.items()]
        if asked.method == "POST":
            fields.append("Content-Length: 0")
        lines = [f"{asked.method} {case.target} HTTP/1.1", "Host: localhost", "Connection: close", *fields]
        data = b""
        with socket.create_connection((host, int(port)), PATIENCE_S) as peer:
            peer.sendall("\r\n".join([*lines, "", ""]).encode())
            while piece := peer.recv(65_536):
                data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        return status, json.loads(body)["code"] if status >= 400 else ""

    def over_oap(self, case: Case) -> Said:
        ended = OverOAP(self.node.oap, case.asked).hear()
        return ended.status, ended.code
