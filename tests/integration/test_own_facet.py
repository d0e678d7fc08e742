"""``docs/examples/own_facet.py`` and ``own_streams.py``, run as their docstrings say."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import run_example


class OwnFacetTests(SynchronousTestCase):
    def printed(self, name: str, *arguments: str | bytes) -> list[str]:
        done = run_example(name, *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.splitlines()

    def test_is_reached_by_both_doors(self) -> None:
        self.assertEqual(self.printed("own_facet.py", "Ada"), ["HTTP:  Hello, Ada!", "OAP/1: Hello, Ada!"])

    def test_any_name_will_do(self) -> None:
        name = "a/b ?#%é"
        self.assertEqual(
            self.printed("own_facet.py", name), [f"HTTP:  Hello, {name}!", f"OAP/1: Hello, {name}!"]
        )
        for odd in ("\n", "x" * 41, b"\xff"):
            http, oap = self.printed("own_facet.py", odd)
            self.assertRegex(
                http + oap, r"\AHTTP: +(bad_request: |Hello, ).+OAP/1: (bad_request|not sent): .+\Z"
            )

    def test_streams(self) -> None:
        messages = ["message 1", "message 2", "message 3"]
        events = ["event 1 1", "event 2 2", "event 3 3"]
        self.assertEqual(self.printed("own_streams.py"), ["PIECE BY PIECE", *messages, *events])
