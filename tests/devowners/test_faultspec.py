"""Tests for :mod:`micronode.devowners.faultspec`."""

from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.faultanswer import DEEDS
from micronode.devowners.faultspec import KINDS, Fault, FaultError, Faults, parse_faults

OWNERS = ("index", "storage")


class ParseTests(SynchronousTestCase):
    def one(self, text: str) -> Fault:
        [fault] = parse_faults([f"index={text}"], OWNERS)["index"]
        return fault

    def test_there_are_twelve(self) -> None:
        self.assertEqual(len(KINDS), 12)
        self.assertEqual(set(DEEDS), set(KINDS) - {"refuse", "500", "503"})

    def test_each_alone(self) -> None:
        for kind in KINDS:
            fault = self.one(kind)
            self.assertEqual((fault.kind, fault.share), (kind, 1.0))

    def test_arguments(self) -> None:
        for text, amount, word in (
            ("stall", None, ""),
            ("stall:2s", 2.0, ""),
            ("stall-body:250ms", 0.25, ""),
            ("stall:1.5m", 90.0, ""),
            ("drip", 0.1, ""),
            ("503", 1.0, ""),
            ("503:7s", 7.0, ""),
            ("oversize", 2.0**24, ""),
            ("oversize:64KiB", 65536.0, ""),
            ("oversize:10", 10.0, ""),
            ("reset", None, "head"),
            ("reset:body", None, "body"),
            ("wrong-length", None, "short"),
            ("wrong-length:long", None, "long"),
        ):
            fault = self.one(text)
            self.assertEqual((fault.amount, fault.word), (amount, word), text)

    def test_shares(self) -> None:
        for text, share in (
            ("500@0.1", 0.1),
            ("500@1", 1.0),
            ("500@0", 0.0),
            ("500@.5", 0.5),
            ("stall:2s@0.25", 0.25),
        ):
            self.assertEqual(self.one(text).share, share)

    def test_several(self) -> None:
        found = parse_faults(["index=500@0.5, storage=reset", "index=stall:2s@0.5"], OWNERS)
        self.assertEqual([fault.kind for fault in found["index"]], ["500", "stall"])
        self.assertEqual([fault.kind for fault in found["storage"]], ["reset"])
        self.assertEqual(parse_faults([], OWNERS), {})

    def test_refusals(self) -> None:
        for text, *words in (
            ("", "expected OWNER=KIND"),
            ("500", "expected OWNER=KIND"),
            ("indx=500", "no owner 'indx'", "did you mean index?"),
            ("index=", "no fault ''", "refuse, reset"),
            ("index=stal:2s", "no fault 'stal'", "did you mean stall?"),
            ("index=stall_body", "did you mean stall-body?"),
            ("index=500@2", "from 0 to 1"),
            ("index=500@", "from 0 to 1"),
            ("index=500@1e-1", "from 0 to 1"),
            ("index=500:1s", "takes no argument"),
            ("index=stall:2", "a duration such as"),
            ("index=stall:", "a duration such as"),
            ("index=oversize:1.5MiB", "a size such as"),
            ("index=reset:bdy", "head or body", "did you mean body?"),
            ("index=500@0.6,index=503@0.5", "index's faults", "more than 1"),
        ):
            message = str(self.assertRaises(FaultError, parse_faults, [text], OWNERS))
            for word in words:
                self.assertIn(word, message)


class DrawTests(SynchronousTestCase):
    def kinds(self, faults: Faults, number: int = 2000) -> list[str | None]:
        return [fault and fault.kind for fault in (faults.draw() for _ in range(number))]

    def test_shares(self) -> None:
        drawn = self.kinds(
            Faults([Fault("500", share=0.1), Fault("stall", share=0.3), Fault("refuse", share=0.5)], "s")
        )
        self.assertLess(abs(drawn.count("500") / 2000 - 0.1), 0.03)
        self.assertLess(abs(drawn.count("stall") / 2000 - 0.3), 0.04)
        self.assertNotIn("refuse", drawn)

    def test_all_and_none(self) -> None:
        self.assertEqual(set(self.kinds(Faults([Fault("500")], "s"))), {"500"})
        self.assertEqual(set(self.kinds(Faults([Fault("500", share=0.0)], "s"))), {None})
        self.assertEqual(set(self.kinds(Faults([], "s"))), {None})

    def test_a_seed_repeats(self) -> None:
        faults = [Fault("500", share=0.5)]
        first = self.kinds(Faults(faults, "a"), 100)
        self.assertEqual(first, self.kinds(Faults(faults, "a"), 100))
        self.assertNotEqual(first, self.kinds(Faults(faults, "b"), 100))

    def test_refusals_are_of_connections(self) -> None:
        faults = Faults([Fault("refuse", share=0.2), Fault("500", share=0.8)], "s")
        self.assertFalse(faults.refuses_all)
        self.assertLess(abs(sum(faults.refuses() for _ in range(2000)) / 2000 - 0.2), 0.04)
        self.assertTrue(Faults([Fault("refuse")], "s").refuses_all)
        self.assertFalse(any(Faults([Fault("500")], "s").refuses() for _ in range(100)))
