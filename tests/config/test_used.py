"""micronode.config.used: which owners are asked for anything at all."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.schema import FACET_NAMES, OWNER_NAMES, Config
from micronode.config.used import ASKED_BY, used_owners

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
