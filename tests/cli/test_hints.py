"""What dev prints: only what there is, ready to be pasted, never looking like JSON."""

import shlex
import sys

from micronode.cli.hints import hints, program
from tests.cli.support import CommandTestCase

ADDRESSES = {"http": "127.0.0.1:5310", "admin": "127.0.0.1:5311", "oap": "127.0.0.1:5312"}
OWNERS = {"index": "http://127.0.0.1:1"}
FACETS = ("graph", "search", "feed", "media")


def text(
    addresses: dict[str, str] = ADDRESSES, facets: tuple[str, ...] = FACETS, *, own: bool = False
) -> str:
    return "\n".join(hints(addresses, OWNERS, facets, own_corpus=own))


class HintsTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(sys, "argv", ["/somewhere/__main__.py"])

    def test_addresses_and_commands(self) -> None:
        found = text()
        for words in (
            "http://127.0.0.1:5310",
            "http://127.0.0.1:5311",
            "oap://127.0.0.1:5312",
            "http://127.0.0.1:1",
            "curl 'http://127.0.0.1:5310/app/search?q=reactor'",
            'call oap://127.0.0.1:5312 search query --args \'{"q":"reactor"}\'',
            'call oap://127.0.0.1:5312 graph neighbors --args \'{"node":"klein"}\'',
            "curl http://127.0.0.1:5310/app/feed/jobs -H 'Idempotency-Key: k1' -d hello",
            "curl http://127.0.0.1:5310/app/feed/jobs/recv -X POST",
            "curl http://127.0.0.1:5310/app/feed/jobs/events -N",
            'call oap://127.0.0.1:5312 feed subscribe --args \'{"topic":"jobs"}\' --subscribe --ack',
            "media put --body FILE",
            "--data-binary @FILE",
        ):
            self.assertIn(words, found)
        # recv would hold the message for a while, and events show none.
        self.assertLess(found.index("/jobs/events"), found.index("/jobs/recv"))

    def test_how_to_see_an_owner_die(self) -> None:
        found = text()
        for words in ("owners &", "run --profile dev &"):
            self.assertIn(f"  {program()} {words}\n", found)

    def test_custom_facets(self) -> None:
        found = text(facets=("graph", "billing"))
        self.assertIn("curl http://127.0.0.1:5310/app/billing/\n", found)
        words = 'custom call --args \'{"facet":"billing","method":"GET","path":"/"}\''
        self.assertIn(f"call oap://127.0.0.1:5312 {words}", found)

    def test_owners_that_the_node_does_not_ask(self) -> None:
        found = list(
            hints(ADDRESSES, OWNERS, FACETS, unused={"policy": "http://127.0.0.1:5"}, own_corpus=False)
        )
        (line,) = [line for line in found if "policy" in line]
        self.assertEqual(line.split()[:2], ["policy", "http://127.0.0.1:5"])
        self.assertIn("does not ask", line)

    def test_no_line_begins_like_json(self) -> None:
        self.assertFalse([line for line in text().splitlines() if line.lstrip().startswith("{")])

    def test_commands_are_shell(self) -> None:
        for line in text().splitlines():
            if line.startswith("  curl") or " call " in line:
                shlex.split(line)

    def test_only_what_is_there(self) -> None:
        found = text(facets=("search",))
        for name in ("graph", "feed", "media"):
            self.assertNotIn(name, found)
        found = text({"admin": "127.0.0.1:5311"})
        self.assertNotIn("/app/", found)
        self.assertNotIn(" call ", found)

    def test_a_node_of_the_default_corpus_is_not_promised_of_another(self) -> None:
        self.assertNotIn("klein", text(own=True))

    def test_unix_sockets(self) -> None:
        found = text({name: f"unix:/run/a b/{name}" for name in ADDRESSES})
        self.assertIn("curl --unix-socket '/run/a b/http' 'http://localhost/app/search?q=reactor'", found)
        self.assertIn("call 'unix:/run/a b/oap' search", found)


class ProgramTests(CommandTestCase):
    def test_as_a_module(self) -> None:
        self.patch(sys, "argv", ["/x/micronode/__main__.py"])
        self.assertEqual(program(), f"{shlex.quote(sys.executable)} -m micronode")

    def test_as_a_script_outside_the_path(self) -> None:
        self.patch(sys, "argv", [".venv/bin/micronode"])
        self.assertEqual(program(), ".venv/bin/micronode")
