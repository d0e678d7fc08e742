"""micronode dev: its options, whose owners it uses, and a reader of its lines that goes away."""

import os
import sys

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from micronode.cli.dev import DevOptions, emit, until_ready, with_owners
from micronode.cli.exits import CommandError
from micronode.config.schema import BUILT_OWNERS, OWNER_NAMES, Config
from tests.cli.support import CommandTestCase

URLS = {"index": "http://127.0.0.1:1", "mailbox": "http://127.0.0.1:3", "storage": "http://127.0.0.1:2"}


def parsed(*argv: str) -> DevOptions:
    options = DevOptions()
    options.parse(argv)
    return options


class DevOptionsTests(CommandTestCase):
    def test_profile(self) -> None:
        for argv in ([], ["--profile", "dev"]):
            config = parsed(*argv).load({}).config
            self.assertEqual((config.node.profile, config.facets["media"].enabled), ("dev", True))
            self.assertEqual(config.sources["node.profile"], "profile dev")

    def test_profile_counts_more_than_the_environment(self) -> None:
        config = parsed().load({"MICRONODE_NODE_PROFILE": "none"}).config
        self.assertEqual(config.node.profile, "dev")

    def test_another_profile(self) -> None:
        for argv in (["--profile", "none"], ["--set", "node.profile=none"]):
            self.assertEqual(self.assertRaises(CommandError, parsed, *argv).code, 64)

    def test_takes_the_options_of_run(self) -> None:
        config = parsed("--http", "127.0.0.1:1", "--facets", "search").load({}).config
        self.assertEqual((config.http.listen, config.facets["media"].enabled), ("127.0.0.1:1", False))

    def test_passes_on_what_is_the_owners(self) -> None:
        self.assertEqual(parsed().for_owners(), [])
        self.assertEqual(
            parsed("--data", "/d", "--fault", "index=500", "--rules", "r", "--corpus", "c").for_owners(),
            ["--corpus", "c", "--data", "/d", "--rules", "r", "--fault", "index=500"],
        )


class WithOwnersTests(CommandTestCase):
    def test_reported_urls(self) -> None:
        config = with_owners(Config(), URLS)
        self.assertEqual(
            {name: owner.url for name, owner in config.owners.items() if owner.url},
            {n: (u,) for n, u in URLS.items()},
        )
        self.assertEqual(config.sources["owners.index.url"], "profile dev")

    def test_those_that_the_node_has_no_use_for(self) -> None:
        urls = {name: "http://127.0.0.1:1" for name in OWNER_NAMES}
        config = with_owners(Config(), urls)
        for name in OWNER_NAMES:
            self.assertEqual(config.owners[name].url, (urls[name],) if name in BUILT_OWNERS else (), name)

    def test_the_users_own_are_kept(self) -> None:
        own = Config.from_mapping({"owners": {"index": {"url": "http://127.0.0.1:9", "concurrency": 3}}})
        config = with_owners(own, URLS)
        self.assertEqual(config.owners["index"].url, ("http://127.0.0.1:9",))
        self.assertEqual(config.owners["storage"].url, ("http://127.0.0.1:2",))
        self.assertEqual(config.sources["owners.index.url"], "program")

    def test_nothing_else_changes(self) -> None:
        own = Config.from_mapping({"owners": {"storage": {"timeout": "1s"}}, "log": {"level": "debug"}})
        changed = {
            path for path, value in with_owners(own, URLS).values().items() if value != own.values()[path]
        }
        self.assertEqual(changed, {"owners.index.url", "owners.mailbox.url", "owners.storage.url"})


class UntilReadyTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.ready = False
        self.asked: list[bytes] = []

    async def look(self, url: bytes) -> bool:
        self.asked.append(url)
        return self.ready

    def wait(self) -> Deferred[None]:
        return Deferred.fromCoroutine(until_ready(self.clock, "index", "http://127.0.0.1:1", self.look))

    def test_looks_until_it_is(self) -> None:
        waiting = self.wait()
        self.clock.pump([0.05] * 3)
        self.assertNoResult(waiting)
        self.ready = True
        self.clock.advance(0.05)
        self.successResultOf(waiting)
        self.assertEqual(self.asked, [b"http://127.0.0.1:1/readyz"] * 5)

    def test_not_for_ever(self) -> None:
        waiting = self.wait()
        self.clock.pump([0.05] * 202)
        error = self.failureResultOf(waiting, CommandError).value
        self.assertEqual(error.code, 69)
        self.assertIn("index at http://127.0.0.1:1 did not become ready in 10 s", error.lines[0])

    def test_cancelled(self) -> None:
        waiting = self.wait()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class EmitTests(CommandTestCase):
    def test_line_by_line(self) -> None:
        name = self.mktemp()
        with open(name, "w") as stream:
            self.patch(sys, "stdout", stream)
            emit("a line")
            with open(name) as written:
                self.assertEqual(written.read(), "a line\n")

    def test_nobody_reads(self) -> None:
        read, write = os.pipe()
        os.close(read)
        stream = os.fdopen(write, "w")
        self.patch(sys, "stdout", stream)
        emit("into the void")
        emit("once more")
        stream.close()
