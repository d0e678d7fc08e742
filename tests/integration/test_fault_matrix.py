"""Every owner with every fault of ``micronode owners --fault``, behind a real node: docs/FAULTS.rst, run."""

from __future__ import annotations

import signal

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import eventually
from tests.support.faultmatrix import ATTEMPT, FAULTS, GAP, HEAD, NOTHING, REST, ROWS, Outcome, Row
from tests.support.matrixcalls import CALLS, CORPUS, DOORS, FAR_CORPUS, Ended, OverHTTP
from tests.support.switched import OwnersProgram, SwitchedNode

OWNERS = tuple(dict.fromkeys(row.owner for row in ROWS))
FACETS = ("graph", "search", "media", "feed")
#: By which words it can be told which deadline it was, where there was a word.
SAYS = {ATTEMPT: "did not answer in time", HEAD: "within the facet's timeout", GAP: "stalled"}


def _s(is_awaited: bool) -> str:
    """Return a deadline: one that a test waits for, or one that no busy machine comes to."""
    return "250ms" if is_awaited else "20s"


class FaultMatrixTests(SynchronousTestCase):
    def test_every_fault_of_every_owner(self) -> None:
        self.differs: list[str] = []
        self.left: tuple[str, str] | None = None
        self.peer = OwnersProgram(self, FAR_CORPUS)
        well = OwnersProgram(self, CORPUS, "--peer", self.peer.urls["storage"])
        # All at once: the ones get ready while others are asked.
        faulty = {fault: self.start_faulty(fault) for fault in FAULTS}
        self.node = SwitchedNode(
            self, {"facets.media": {"enabled": True}, "drain": {"grace": "0s", "deadline": "0s"}}
        )
        # Who decides has 250 ms, which is little on a busy machine: it is there where it is what is tried.
        self.well = {owner: url for owner, url in well.urls.items() if owner != "policy"}
        for row in ROWS:
            # The calls are right; and what each needs once is there from now on.
            self.node.switch({**self.well, row.owner: well.urls[row.owner]})
            self.check(row, Outcome(200), "")
        self.node.switch({})
        eventually(lambda: not self.node.connections())
        # A look for an owner that is nowhere has one for a moment.
        before = min(self.node.descriptors() for _ in range(20))
        done: list[OwnersProgram] = []
        for fault, owners in faulty.items():
            for owner in OWNERS:
                self.befall(owner, fault, owners.urls[owner])
                if done:
                    # Not before the last of them was looked after; it ends while others are asked.
                    done.pop().kill(signal.SIGTERM)
            done.append(owners)
        self.node.switch({})
        self.check_left()
        done.pop().kill(signal.SIGTERM)
        eventually(lambda: not self.node.connections())
        eventually(
            lambda: self.node.descriptors() <= before,
            lambda: f"{self.node.descriptors()} descriptors, {before} before",
        )
        inflight = self.node.metrics("inflight_requests")
        self.assertEqual({labels: count for labels, count in inflight.items() if count}, {})
        self.node.stop()
        for owners in faulty.values():
            self.assertEqual(owners.end(), 0)
            self.assertNotIn("Traceback", owners.complained)
        self.assertEqual(self.differs, [], "\n".join(self.differs))

    def start_faulty(self, fault: str) -> OwnersProgram:
        """Start owners that all have *fault*."""
        faults = ",".join(f"{owner}={fault}" for owner in OWNERS)
        return OwnersProgram(self, CORPUS, "--fault", faults, "--peer", self.peer.urls["storage"])

    def befall(self, owner: str, fault: str, url: str) -> None:
        """Let *owner* be the one at *url*, which has *fault*, and make each call that needs it."""
        rows = [row for row in ROWS if row.owner == owner]
        passes: dict[tuple[str, tuple[tuple[str, str], ...]], list[Row]] = {}
        for row in rows:
            within = row.outcomes[fault].within
            settings = tuple(row.settings.items())
            passes.setdefault((within if within in SAYS else "", settings), []).append(row)
        for (within, settings), those in passes.items():
            # Not of the facet that is asked meanwhile, which must not depend on how busy the machine is.
            tried = {CALLS[row.call].path.split("/")[2] for row in those}
            facets = {f"facets__{name}": {"timeout": _s(within == HEAD and name in tried)} for name in FACETS}
            self.node.switch(
                {**self.well, owner: url},
                **{f"owners__{owner}": {"timeout": _s(within == ATTEMPT), **dict(settings)}},
                **facets,
                timeouts={"idle": _s(within == GAP)},
            )
            for row in those:
                try:
                    self.check(row, row.outcomes[fault], fault)
                except self.failureException as error:
                    # One run tells of all that differs.
                    self.differs.append(f"{owner}={fault}, {row.call}: {error}")
            self.check_left()
        self.left = (f"{owner}={fault}", url)
        self.node.check_log()

    def check_left(self) -> None:
        """The configuration does not know the owner of before any more: whatever was kept for it is gone."""
        if self.left is not None:
            (what, url), self.left = self.left, None
            eventually(
                lambda: not self.node.connections(url),
                lambda: f"{what}: {self.node.connections(url)} connections are left",
            )

    def call(self, row: Row, most: int | None = None) -> tuple[Ended, Ended]:
        """Make the call of *row* through both doors, and another one meanwhile that must go well."""
        asked = CALLS[row.call]
        calls = [door(getattr(self.node, name), asked) for name, door in DOORS.items()]
        for call in calls:
            self.addCleanup(call.close)
        if row.other:
            other = OverHTTP(self.node.http, CALLS[row.other]).hear()
            self.assertEqual(other.status, 200, other)
        http, oap = (call.hear(most) for call in calls)
        return http, oap

    def decided(self, row: Row) -> tuple[Ended, Ended] | None:
        """Make the call of *row*; None: nobody decided about it in time."""
        ended = self.call(row)
        return None if any(each.status == 503 for each in ended) else ended

    def check(self, row: Row, expected: Outcome, fault: str) -> None:
        """Both doors end as expected."""
        http, oap = self.call(row, most=3 if expected.within == NOTHING else None)
        if row.owner == "policy" and expected.status == 200:
            # See above: what is decided once is known.
            http, oap = eventually(lambda: self.decided(row))
        good = row.status if expected.status == 200 and not expected.late else expected.status
        code_over_http = "" if expected.late else expected.code
        self.assertEqual((http.status, http.code, http.late), (good, code_over_http, expected.late), http)
        self.assertEqual((oap.status, oap.code, oap.late), (good, expected.code, expected.late), oap)
        waits = {503: 60.0 if fault == REST else 1.0}.get(good)
        for ended in (oap,) if expected.late else (http, oap):
            if waits is not None:
                self.assertEqual(ended.retry_after_s, waits, ended)
            if expected.within in SAYS:
                self.assertIn(SAYS[expected.within], ended.message)
            self.assertNotIn("127.0.0.1", ended.message)
