"""What ``micronode call`` takes on its command line."""

from micronode.calls.operations import BodyRule
from micronode.cli.calloptions import PROFILES, STORING
from micronode.cli.exits import CommandError
from micronode.facets.graph import GraphFacet
from micronode.facets.media import MediaFacet
from micronode.facets.search import SearchFacet
from micronode.oap.wire.profiles import Profile
from tests.cli.support import CommandTestCase, parsed


class CallOptionsTests(CommandTestCase):
    def test_options_may_stand_anywhere(self) -> None:
        for argv in (
            ["oap://h:1", "search", "query", "--args", '{"q":"-x"}', "--head"],
            ["--head", "--args", '{"q":"-x"}', "oap://h:1", "search", "query"],
            ["oap://h:1", "--head", "search", '--args={"q":"-x"}', "query"],
        ):
            options = parsed(*argv)
            self.assertEqual(
                (options["target"], options["profile"], options["op"]), ("oap://h:1", "search", "query")
            )
            self.assertEqual((options["args"], options["head"]), ({"q": "-x"}, 1))

    def test_defaults(self) -> None:
        options = parsed("oap://h:1", "media", "get")
        self.assertEqual((options["args"], options["body"], options["deadline"]), ({}, None, None))

    def test_profiles_by_name(self) -> None:
        self.assertEqual(PROFILES["media"], Profile.MEDIA)
        self.assertNotIn("control", PROFILES)

    def test_profiles_by_number(self) -> None:
        for profile in ("28673", "0x7001"):
            self.assertEqual(parsed("oap://h:1", profile, "hello")["app"], 0x7001)
        error = self.assertRaises(CommandError, parsed, "oap://h:1", "0x0101", "put")
        self.assertIn("0x0101.put stores a body", error.lines[0])

    def test_a_deadline_may_have_passed(self) -> None:
        self.assertEqual(parsed("oap://h:1", "search", "query", "--deadline", "0")["deadline"], 0)

    def test_what_stores_a_body_is_not_sent_without_one(self) -> None:
        error = self.assertRaises(CommandError, parsed, "oap://h:1", "media", "put")
        self.assertEqual(error.code, 64)
        self.assertRegex(error.lines[0], r"\Amedia\.put stores a body .+--body FILE.+--help\Z")
        self.assertEqual(parsed("oap://h:1", "media", "put", "--body", "-")["body"], "-")

    def test_storing_operations_are_those_that_take_a_body(self) -> None:
        media = MediaFacet(object(), max_object=1, mismatches=None)  # type: ignore[arg-type]
        facets = (GraphFacet(object()), SearchFacet(object()), media)  # type: ignore[arg-type]
        taking = {
            (row.profile, row.op)
            for facet in facets
            for row in facet.operations()
            if row.body is not BodyRule.NONE
        }
        self.assertEqual(STORING, taking)

    def test_mistakes(self) -> None:
        for argv, words in [
            ([], "0 given"),
            (["oap://h:1", "search"], "2 given"),
            (["oap://h:1", "search", "query", "x"], "4 given"),
            (["oap://h:1", "serch", "query"], "did you mean search?"),
            (["oap://h:1", "control", "hello"], "unknown profile"),
            (["oap://h:1", "search", "query", "--args", "{"], "not JSON"),
            (["oap://h:1", "search", "query", "--args", "[1]"], "JSON object"),
            (["oap://h:1", "search", "query", "--args", "[" * 100_000], "not JSON"),
            (["oap://h:1", "search", "query", "--deadline", "1.5"], "--deadline"),
            (["oap://h:1", "search", "query", "--deadline", "-1"], "--deadline"),
            (["oap://h:1", "search", "query", "--timeout", "0s"], "use 1ms to 604800s"),
            (["oap://h:1", "search", "query", "--timeout", "200h"], "use 1ms to 604800s"),
            (["oap://h:1", "0", "query"], "use 1 to 65535"),
            (["oap://h:1", "65536", "query"], "use 1 to 65535"),
            (["oap://h:1", "0x10000", "query"], "use 1 to 65535"),
            (["oap://h:1", "7" * 5000, "query"], "use 1 to 65535"),
            (["oap://h:1", "-7", "query"], ""),
            (["oap://h:1", "0xhello", "query"], "or a number"),
            (["oap://h:1", "feed", "subscribe", "--subscribe", "--deadline", "0"], "takes no --deadline"),
            (["oap://h:1", "search", "query", "--deadline", "9" * 5000], "--deadline"),
        ]:
            error = self.assertRaises(CommandError, parsed, *argv)
            self.assertEqual(error.code, 64)
            self.assertIn(words, error.lines[0])
            self.assertTrue(error.lines[0].endswith("; see micronode call --help"), error.lines)
