"""The models in ``specs/models`` hold; and each rule that is left out breaks them.

``oap_flow.pml`` is flow control, ``drain.pml`` calls in line for permits, reloads and the drain.

SPIN writes a C program that visits every state of the model; see ``specs/models/README.md``.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import micronode
from tests.support.tools import require_tool

MODELS = Path(micronode.__file__).parent.parent / "specs" / "models"
#: More than any run below needs several times over; what has no end must not hang.
RUN_S = 240
MEMORY_MB = 2000
#: Steps; the longest run of the model has about a hundred.
DEPTH = 100_000

TWO_UPLOADS = ("NO_U", "NO_D", "TROUBLE_A")
MIXED = ("NO_A", "NO_D", "TROUBLE_U")
#: An owner that never takes holds more than half of the connection's window.
HALF_HELD = ("NO_U", "NO_D", "STUCK_A", "ACK=3", "CONN=4", "BODY=4")
FAIR = ("-DNFAIR=6",)


class ModelCase(SynchronousTestCase):
    """Each run visits all states, or finds the error that it should.

    :cvar model: the name of the model's file.
    """

    model = ""

    def setUp(self) -> None:
        self.spin = require_tool("spin")
        self.gcc = require_tool("gcc")

    def check(self, *defines: str, claim: str = "", cycles: bool = False, optimise: str = "-O1") -> str:
        """Return what the search says about the model with *defines*.

        :param claim: a formula of the model, checked under weak fairness; else states are checked.
        :param cycles: whether to look for runs without an end instead.
        :param optimise: how to compile; small searches are over before an optimiser is.
        """
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        named = [f"-D{define}" for define in ((*defines, "LTL") if claim else defines)]
        self.do(folder, self.spin, *named, "-a", str(MODELS / self.model))
        kind = FAIR if claim else ("-DNP",) if cycles else ("-DSAFETY",)
        memory = f"-DMEMLIM={MEMORY_MB}"
        self.do(folder, self.gcc, optimise, "-w", "-DNOREDUCE", memory, *kind, "-o", "pan", "pan.c")
        how = ("-a", "-f", "-N", claim) if claim else ("-l",) if cycles else ()
        said = self.do(folder, "./pan", "-n", f"-m{DEPTH}", "-w22", *how)
        self.assertNotIn("max search depth too small", said)
        self.assertNotIn("out of memory", said)
        return said

    def do(self, folder: Path, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_S,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def assert_holds(self, said: str, *, states: int) -> None:
        """Assert that the search was whole and found nothing.

        :param states: at least so many there were; less, and the model has lost what it was to show.
        """
        self.assertRegex(said, r"errors: 0\b")
        self.assertNotIn("Search not completed", said)
        stored = re.search(r"(\d+) states, stored", said)
        assert stored is not None, said
        self.assertGreater(int(stored[1]), states)

    def assert_breaks(self, said: str, how: str) -> None:
        """Assert that the search found an error, and the one that was meant."""
        self.assertRegex(said, r"errors: [1-9]")
        self.assertIn(how, said)


class FlowTests(ModelCase):
    """Flow control of one OAP/1 connection."""

    model = "oap_flow.pml"

    # What holds

    def test_all_four_streams(self) -> None:
        """With an owner that never takes, whatever becomes of the upload without windows."""
        said = self.check("STUCK_A", "TROUBLE_U", optimise="-O2")
        self.assert_holds(said, states=2_000_000)

    def test_download_in_trouble(self) -> None:
        """A caller that stops crediting, gives up or is failed harms neither kind of upload."""
        said = self.check("NO_A", "TROUBLE_D", "PLAIN=2", "BUFFER=1")
        self.assert_holds(said, states=300_000)

    def test_ended_uploads(self) -> None:
        """Cancelled, refused, ended early or stuck: the connection's window is whole again."""
        said = self.check(*TWO_UPLOADS, "WIRE=2")
        self.assert_holds(said, states=200_000)

    def test_more_than_half_held(self) -> None:
        """An owner that holds more than half of the connection's window leaves the rest to others."""
        self.assert_holds(self.check(*HALF_HELD, optimise="-O0"), states=1_000)

    def test_rogue_caller(self) -> None:
        """A caller that minds no window makes the node hold no more than the windows."""
        self.assert_holds(self.check("ROGUE", *TWO_UPLOADS), states=100_000)

    def test_every_run_ends(self) -> None:
        """Nothing goes round for ever, so that whoever does not end is seen to be stuck."""
        self.assert_holds(self.check(*MIXED, cycles=True), states=50_000)

    def test_pauses_end(self) -> None:
        said = self.check(*MIXED, "PINGS", claim="pause_ends")
        self.assert_holds(said, states=100_000)

    def test_pings_are_heard(self) -> None:
        said = self.check(*MIXED, "PINGS", "PLAIN=2", "BUFFER=1", "BODY=2", "ACK=1", claim="heard")
        self.assert_holds(said, states=20_000)

    def test_streams_end(self) -> None:
        said = self.check(*MIXED, "PLAIN=2", "BUFFER=1", "BODY=2", "ACK=1", claim="ends")
        self.assert_holds(said, states=5_000)

    def test_stuck_uploads_end(self) -> None:
        """With the deadline for owners that take nothing."""
        said = self.check("NO_U", "NO_D", "STUCK_A", "OWNER_STALL", claim="ends", optimise="-O0")
        self.assert_holds(said, states=1_000)

    # What each rule is good for

    def test_dropped_bytes_must_be_credited(self) -> None:
        said = self.check("DROPPED_NOT_CREDITED", *TWO_UPLOADS, optimise="-O0")
        self.assert_breaks(said, "assertion violated")

    def test_dropped_bytes_must_be_credited_once(self) -> None:
        said = self.check("DROPPED_CREDITED_TWICE", *TWO_UPLOADS, optimise="-O0")
        self.assert_breaks(said, "up_to<=out_all.sent")

    def test_ended_streams_must_be_remembered(self) -> None:
        said = self.check("ENDED_NOT_REMEMBERED", *TWO_UPLOADS, optimise="-O0")
        self.assert_breaks(said, "in_all.received==out_all.sent")

    def test_windowed_streams_must_not_pause(self) -> None:
        said = self.check("WINDOWED_PAUSES", "NO_U", "NO_D", "STUCK_A", optimise="-O0")
        self.assert_breaks(said, "invalid end state")

    def test_pauses_must_end(self) -> None:
        said = self.check("NO_STALL", *MIXED, optimise="-O0")
        self.assert_breaks(said, "invalid end state")
        said = self.check("NO_STALL", *MIXED, "PINGS", claim="pause_ends", optimise="-O0")
        self.assert_breaks(said, "acceptance cycle")

    def test_empty_windows_must_end(self) -> None:
        said = self.check("NO_WRITE_STALL", "NO_A", "NO_U", "TROUBLE_D", optimise="-O0")
        self.assert_breaks(said, "invalid end state")

    def test_windows_must_be_checked(self) -> None:
        said = self.check("ROGUE", "UNCHECKED", *TWO_UPLOADS, optimise="-O0")
        self.assert_breaks(said, "assertion violated")

    def test_credit_must_not_wait_for_half_to_be_taken(self) -> None:
        """Half of a window that is used is not half of a window that was taken since the last CREDIT."""
        said = self.check("HALF_OF_TAKEN", *HALF_HELD, optimise="-O0")
        self.assert_breaks(said, "invalid end state")


#: Owners may never answer, callers may stay for ever, the drain may never come.
TROUBLE = ("TROUBLE",)


class DrainTests(ModelCase):
    """Calls in line for permits, reloads that change how many there are, and a drain with its deadlines."""

    model = "drain.pml"

    # What holds

    def test_two_facets(self) -> None:
        """Permits are conserved, nobody is admitted late or out of turn, and every call ends once."""
        self.assert_holds(self.check(*TROUBLE), states=300_000)

    def test_one_facet(self) -> None:
        self.assert_holds(self.check(*TROUBLE, "ONE_FACET", "QUEUE=2"), states=600_000)

    def test_the_nodes_own_gate(self) -> None:
        """With fewer permits of the node than of the facets."""
        self.assert_holds(self.check(*TROUBLE, "NODE=1", "QUEUE=2"), states=600_000)

    def test_without_trouble(self) -> None:
        self.assert_holds(self.check(optimise="-O0"), states=3_000)

    def test_every_run_ends(self) -> None:
        self.assert_holds(self.check(*TROUBLE, cycles=True), states=300_000)

    def test_a_drain_ends(self) -> None:
        self.assert_holds(self.check(*TROUBLE, claim="stops"), states=500_000)

    def test_who_waits_is_served_or_refused(self) -> None:
        self.assert_holds(self.check(*TROUBLE, claim="decided"), states=300_000)

    def test_who_is_answered_ends(self) -> None:
        self.assert_holds(self.check(*TROUBLE, claim="ends"), states=300_000)

    # What each rule is good for

    def breaks(self, define: str, how: str) -> None:
        self.assert_breaks(self.check(*TROUBLE, define, optimise="-O0"), how)

    def test_permits_must_be_given_back_once(self) -> None:
        self.breaks("DOUBLE_RELEASE", "assertion violated ((in_use")

    def test_a_smaller_limit_must_not_lose_permits(self) -> None:
        self.breaks("SHRINK_LOSES", "assertion violated ((in_use")

    def test_who_waits_must_be_let_in_by_a_release(self) -> None:
        self.breaks("RELEASE_FORGETS", "assertion violated ( !((waiting")

    def test_who_waits_must_be_let_in_by_a_reload(self) -> None:
        self.breaks("RELOAD_FORGETS", "assertion violated ( !((waiting")

    def test_waiting_must_end(self) -> None:
        self.breaks("NO_DEADLINE", "invalid end state")
        said = self.check(*TROUBLE, "NO_DEADLINE", claim="decided", optimise="-O0")
        self.assert_breaks(said, "acceptance cycle")

    def test_a_drain_must_have_a_deadline(self) -> None:
        self.breaks("NO_DRAIN_DEADLINE", "invalid end state")

    def test_a_drain_must_end_the_line(self) -> None:
        self.breaks("DRAIN_FORGETS_LINE", "assertion violated  !(refusing)")

    def test_a_drain_must_cancel_calls(self) -> None:
        self.breaks("DRAIN_FORGETS_CALLS", "assertion violated (((call[0]")

    def test_a_drain_must_refuse(self) -> None:
        self.breaks("ADMITS_LATE", "assertion violated  !(refusing)")
