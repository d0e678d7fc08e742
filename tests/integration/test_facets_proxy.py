"""Every facet asks a process of its own, through both doors, and no more of it at a time than it may."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.profiles import Profile
from tests.cli.processes import Program, ask, ask_json, eventually
from tests.support.matrixcalls import DOORS, Asked, Ended
from tests.support.switched import SwitchedNode


class PidOwner(Program):
    """``tests.support.pidowner``."""

    def __init__(self, case: SynchronousTestCase) -> None:
        super().__init__(case, python=("-m", "tests.support.pidowner"))
        said = json.loads(self.until("{.+}")[0])
        case.assertEqual(said["pid"], self.pid)
        self.url: str = said["url"]
        self.cid: str = said["cid"]

    @property
    def held(self) -> int:
        """How many calls wait in it."""
        return int(ask_json(f"{self.url}/held")["count"])

    def release(self) -> None:
        """Let them go."""
        ask(f"{self.url}/release", "POST")


@attrs.frozen
class Facet:
    """A facet, its owner, and calls of it: one that is answered at once, one that is held."""

    name: str
    owner: str
    asked: Asked
    held: Asked


def get(path: str, profile: int, op: str, args: Mapping[str, Any]) -> Asked:
    return Asked("GET", path, profile, op, args)


def facets(cid: str) -> tuple[Facet, ...]:
    """Return the facets; *cid* is of the storage owner's object."""
    held = b"hold this"
    put = Asked("POST", "/app/media", Profile.MEDIA, "put", {}, body=held, streams=True)
    return (
        Facet(
            "graph",
            "index",
            get("/app/graph/neighbors/x", Profile.GRAPH, "neighbors", {"node": "x"}),
            get("/app/graph/resolve/name:hold", Profile.GRAPH, "resolve", {"key": "name:hold"}),
        ),
        Facet(
            "search",
            "index",
            get("/app/search?q=x", Profile.SEARCH, "query", {"q": "x"}),
            get("/app/search?q=hold", Profile.SEARCH, "query", {"q": "hold"}),
        ),
        Facet("media", "storage", get(f"/app/media/{cid}", Profile.MEDIA, "get", {"cid": cid}), put),
        Facet("feed", "mailbox", recv("t"), recv("hold")),
        Facet("own", "own", through("/now"), through("/hold")),
    )


def through(path: str) -> Asked:
    args = {"facet": "own", "method": "GET", "path": path}
    return get(f"/app/own{path}", Profile.CUSTOM, "call", args)


def recv(topic: str) -> Asked:
    return Asked("POST", f"/app/feed/{topic}/recv", Profile.FEED, "recv", {"topic": topic})


#: How many calls may be under way where something is bounded: one through each door.
BOUND = len(DOORS)


class FacetsProxyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.owners = {name: PidOwner(self) for name in ("index", "storage", "mailbox", "own")}
        self.facets = facets(self.owners["storage"].cid)
        self.node = SwitchedNode(
            self, {"facets.media": {"enabled": True}, "drain": {"grace": "0s", "deadline": "0s"}}
        )

    def switch(self, **changes: Mapping[str, object]) -> None:
        urls = {name: owner.url for name, owner in self.owners.items() if name != "own"}
        routes = [{"method": "GET", "path": "/{rest}", "access": "read"}]
        own = {"kind": "proxy", "upstream": self.owners["own"].url, "routes": routes}
        changes["facets__own"] = own | dict(changes.get("facets__own", {}))
        self.node.switch(urls, **changes)

    def send(self, asked: Asked) -> list[Any]:
        """Make a call through each door, and return them; they may not have been answered."""
        calls = [door(getattr(self.node, name), asked) for name, door in DOORS.items()]
        for call in calls:
            self.addCleanup(call.close)
        return calls

    def ask(self, asked: Asked) -> list[Ended]:
        return [call.hear() for call in self.send(asked)]

    def assert_is_of(self, ended: Ended, owner: PidOwner) -> None:
        """The answer has the id of the process of *owner* in it."""
        self.assertRegex(ended.body.decode(), rf"\b{owner.pid}\b")

    def test_the_owners_process_answers(self) -> None:
        self.switch()
        for facet in self.facets:
            owner = self.owners[facet.owner]
            for ended in self.ask(facet.asked):
                self.assertEqual(ended.status, 200, ended)
                self.assert_is_of(ended, owner)
                self.assertFalse({owner.pid, os.getpid()} & {self.node.pid})
        self.assertEqual(len({owner.pid for owner in self.owners.values()}), len(self.owners))
        # A process that has gone answers nothing, and nobody answers in its place.
        for owner in self.owners.values():
            owner.process.kill()
            owner.end()
        for facet in self.facets:
            for ended in self.ask(facet.asked):
                self.assertEqual((ended.status, ended.code), (503, "owner_unavailable"), ended)
        self.node.stop()

    def test_the_overlays_process_answers_what_storage_has_not(self) -> None:
        far = PidOwner(self)
        self.node.switch({"overlay": far.url, "storage": self.owners["storage"].url})
        asked = get(f"/app/media/{far.cid}", Profile.MEDIA, "get", {"cid": far.cid})
        for ended in self.ask(asked):
            self.assert_is_of(ended, far)
        self.node.stop()

    def test_the_policys_process_decides(self) -> None:
        policy = PidOwner(self)
        self.switch(owners__policy={"url": policy.url, "fail": "open"})
        for facet in self.facets:
            # It has 250 ms, which may pass on a busy machine; then the call goes on.
            for ended in eventually(lambda: self.denied(facet)):  # noqa: B023
                self.assertEqual((ended.status, ended.code), (403, "forbidden"), ended)
                self.assertRegex(ended.message, rf"\b{policy.pid}\b")
        self.node.stop()

    def denied(self, facet: Facet) -> list[Ended] | None:
        ended = self.ask(facet.asked)
        return ended if all(each.status == 403 for each in ended) else None

    def test_no_more_at_a_time_than_an_owner_may_get(self) -> None:
        for facet in self.facets:
            if facet.owner == "own":
                continue  # It has one bound, its facet's.
            self.switch(**{f"owners__{facet.owner}": {"concurrency": BOUND}})
            self.bounded(facet, (503, "owner_unavailable"))
        self.node.stop()

    def test_no_more_at_a_time_than_a_facet_may_get(self) -> None:
        for facet in self.facets:
            self.switch(**{f"facets__{facet.name}": {"limit": BOUND}})
            self.bounded(facet, (429, "busy"))
        self.node.stop()

    def bounded(self, facet: Facet, refused: tuple[int, str]) -> None:
        """With all it may have under way, one call more is *refused*, others are not; then it is served."""
        owner = self.owners[facet.owner]
        under_way = self.send(facet.held)
        eventually(lambda: owner.held == BOUND, lambda: f"{facet.name}: {owner.held} are held")
        for ended in self.ask(facet.asked):
            self.assertEqual((ended.status, ended.code), refused, ended)
            self.assertGreaterEqual(ended.retry_after_s or 0, 1.0)
        others = [each for each in self.facets if each.owner != facet.owner]
        if refused[0] == 429:
            others += [each for each in self.facets if each.owner == facet.owner and each is not facet]
        for other in others:
            self.assertEqual([ended.status for ended in self.ask(other.asked)], [200] * BOUND)
        self.assertEqual(owner.held, BOUND)
        owner.release()
        for call in under_way:
            ended = call.hear()
            self.assertIn(ended.status, (200, 201), ended)
            self.assert_is_of(ended, owner)
        self.assertEqual([ended.status for ended in self.ask(facet.asked)], [200] * BOUND)
