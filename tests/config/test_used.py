"""micronode.config.used: which owners are asked for anything at all."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.schema import FACET_NAMES, OWNER_NAMES, Config
from micronode.config.used import ASKED_BY, tight_owners, used_owners

WHERE = {name: {"url": "http://10.0.0.9:7"} for name in OWNER_NAMES}


class UsedOwnersTests(SynchronousTestCase):
    def used(self, *facets: str, **owners: dict[str, str]) -> list[str]:
        """Return the owners that are used where *facets* alone are enabled."""
        enabled = {name: {"enabled": name in facets} for name in FACET_NAMES}
        return list(used_owners(Config.from_mapping({"facets": enabled, "owners": owners})))

    def test_each_facet_uses_its_own(self) -> None:
        for facets, owners in (
            ((), ["policy"]),
            (("graph",), ["index", "policy"]),
            (("search",), ["index", "policy"]),
            (("feed",), ["mailbox", "policy"]),
            (("media",), ["storage", "overlay", "policy"]),
            (FACET_NAMES, list(OWNER_NAMES)),
        ):
            self.assertEqual(self.used(*facets, **WHERE), owners)

    def test_those_that_are_nowhere_are_not_used(self) -> None:
        self.assertEqual(self.used(*FACET_NAMES), ["index", "mailbox", "storage"])

    def test_the_defaults(self) -> None:
        self.assertEqual(list(used_owners(Config())), ["index", "mailbox"])

    def test_custom_facets_use_none(self) -> None:
        own = {"own": {"kind": "echo", "routes": [{"method": "GET", "access": "read"}]}}
        off = {name: {"enabled": False} for name in FACET_NAMES}
        self.assertEqual(used_owners(Config.from_mapping({"facets": off | own})), {})

    def test_every_facet_is_in_the_table(self) -> None:
        self.assertEqual({each for names in ASKED_BY.values() for each in names}, set(FACET_NAMES))
        self.assertEqual({*ASKED_BY, "policy"}, set(OWNER_NAMES))


class TightOwnersTests(SynchronousTestCase):
    """Owners that are full before their facets are."""

    def tight(self, **sections: object) -> list[str]:
        return list(tight_owners(Config.from_mapping(sections)))

    def test_nothing_is_said_of_the_defaults(self) -> None:
        self.assertEqual(self.tight(), [])
        self.assertEqual(self.tight(facets={"search": {"limit": 96}}), [])
        self.assertEqual(self.tight(node={"profile": "dev"}, http={"listen": "127.0.0.1:0"}), [])

    def test_a_facet_s_limit_that_is_never_met(self) -> None:
        (note,) = self.tight(facets={"graph": {"limit": 200}})
        self.assertTrue(
            note.startswith("owners.index.concurrency (64) is met before facets.graph.limit (200)")
        )
        self.assertIn("facets.search.limit (96)", note)
        self.assertIn("503 owner_unavailable", note)

    def test_an_owner_s_own_bound(self) -> None:
        (note,) = self.tight(owners={"mailbox": {"concurrency": 63}})
        self.assertIn("owners.mailbox.concurrency (63) is met before facets.feed.limit (64)", note)
        self.assertEqual(self.tight(owners={"mailbox": {"concurrency": 64}}), [])

    def test_one_facet_that_meets_its_own_is_enough(self) -> None:
        self.assertEqual(self.tight(facets={"graph": {"limit": 64}}), [])

    def test_facets_that_are_off_do_not_count(self) -> None:
        self.assertEqual(self.tight(facets={"graph": {"limit": 200, "enabled": False}}), [])
        self.assertEqual(self.tight(facets={"media": {"limit": 900}}), [])
