"""micronode.config.notes: bounds that are never met are told, and nothing else is."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.notes import notes
from micronode.config.schema import PROFILES, Config


class NotesTests(SynchronousTestCase):
    def notes(self, *facets: str, **limits: int) -> list[str]:
        """Return the notes on a node with these ``limits``, and facets that are given as ``NAME=LIMIT``."""
        wanted = {name: {"limit": int(limit)} for name, limit in (each.split("=") for each in facets)}
        return list(notes(Config.from_mapping({"limits": limits, "facets": wanted})))

    def assert_noted(self, found: list[str], *words: str) -> None:
        self.assertEqual(len(found), 1, found)
        for each in words:
            self.assertIn(each, found[0])

    def test_nothing_is_said_of_defaults(self) -> None:
        for profile in PROFILES:
            self.assertEqual(list(notes(Config.from_mapping({"node": {"profile": profile}}))), [], profile)

    def test_bounds_of_connections(self) -> None:
        self.assertEqual(self.notes(per_address=1024, max_handshakes=1024), [])
        self.assert_noted(
            self.notes(per_address=1025), "limits.per_address (1025)", "never met", "max_connections (1024)"
        )
        self.assert_noted(self.notes(max_handshakes=1025), "limits.max_handshakes (1025)", "never met")

    def test_a_default_beside_what_was_set(self) -> None:
        self.assert_noted(self.notes(max_connections=255), "limits.max_handshakes (256)", "(255)")
        self.assertEqual(self.notes(max_connections=255, max_handshakes=255), [])

    def test_a_facet_above_the_node(self) -> None:
        self.assert_noted(self.notes("graph=63", "search=63", max_calls=63)[:1], "facets.feed.limit (64)")
        self.assertEqual(len(self.notes(max_calls=63)), 3, "graph, search and feed")

    def test_facets_together_above_the_node(self) -> None:
        self.assertEqual(self.notes("graph=64", "search=64", "feed=64", max_calls=192), [])
        self.assert_noted(
            self.notes("graph=64", "search=64", "feed=64", max_calls=191), "192 calls together", "busy_node"
        )

    def test_facets_that_are_off_do_not_count(self) -> None:
        self.assertEqual(self.notes("media=600")[:1], [])

    def test_streams(self) -> None:
        off = {"feed": {"enabled": False}}

        def noted(most: int, **more: int) -> list[str]:
            facets = {**off, "graph": {"limit": 10, **more}, "search": {"limit": 10}}
            wanted = {"limits": {"max_inflight": most, "max_calls": 20}, "facets": facets}
            return list(notes(Config.from_mapping(wanted)))

        self.assertEqual(noted(20), [])
        self.assert_noted(noted(21), "limits.max_inflight (21)", "429")
        self.assertEqual(noted(21, queue=1), [], "one may wait")
