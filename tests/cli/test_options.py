"""The options of the node: what is typed becomes settings with their origin."""

import io
import os
import sys
from pathlib import Path

from twisted.python import usage

from micronode.cli.exits import CommandError
from micronode.cli.options import NodeOptions, TwistdOptions
from micronode.config.problems import ConfigError
from micronode.config.schema import FACET_NAMES
from tests.cli.support import CommandTestCase, FullStream


def parsed(*argv: str) -> NodeOptions:
    options = NodeOptions()
    options.parse(argv)
    return options


class NodeOptionsTests(CommandTestCase):
    def test_each_flag_reaches_its_key(self) -> None:
        for argv, path, value, origin in [
            (["--http", "127.0.0.1:1"], "http.listen", "127.0.0.1:1", "flag --http"),
            (["--admin=127.0.0.1:1"], "admin.listen", "127.0.0.1:1", "flag --admin"),
            (["--oap", "off"], "oap.listen", "off", "flag --oap"),
            (["--log-level", "debug"], "log.level", "debug", "flag --log-level"),
            (["--facets", "search"], "facets.graph.enabled", False, "flag --facets"),
            (["--profile", "dev"], "node.profile", "dev", "flag --profile"),
            (["--set", "http.idle=3s"], "http.idle", 3.0, "flag --set http.idle"),
            (
                ["--set", "owners.index.url=http://a,http://b"],
                "owners.index.url",
                ("http://a", "http://b"),
                None,
            ),
        ]:
            config = parsed(*argv).load({}).config
            self.assertEqual(config.values()[path], value, argv)
            if origin is not None:
                self.assertEqual(config.sources[path], origin)

    def test_two_options_for_one_key_are_a_mistake(self) -> None:
        for first, second in (
            (["--http", "127.0.0.1:1"], ["--set", "http.listen=127.0.0.1:2"]),
            (["--facets", "search"], ["--set", "facets.media.enabled=true"]),
            (["--amnesia"], ["--set", "amnesia.enabled=false"]),
        ):
            for one, other in ((first, second), (second, first)):
                error = self.assertRaises(CommandError, parsed, *one, *other)
                self.assertEqual(error.code, 64)
                for words in (one, other):
                    word = " ".join(words).partition("=")[0] if words[0] == "--set" else words[0]
                    self.assertIn(word, str(error.lines[0]))
                self.assertIn(" both set ", str(error.lines[0]))

    def test_the_same_twice_is_a_mistake(self) -> None:
        for argv in (
            ["--http", "127.0.0.1:1", "--http", "127.0.0.1:1"],
            ["--set", "http.idle=1s", "--set", "http.idle=2s"],
            ["--config", "a", "--config", "b"],
            ["--facets", "graph", "--facets", "search"],
            ["--amnesia", "--no-amnesia"],
            ["--amnesia", "--amnesia"],
        ):
            error = self.assertRaises(CommandError, parsed, *argv)
            self.assertEqual(error.code, 64)
            self.assertRegex(error.lines[0], "twice|exclude")

    def test_unknown_options_hint(self) -> None:
        error = self.assertRaises(CommandError, parsed, "--htpp", "x")
        self.assertIn("(did you mean --http?)", error.lines[0])

    def test_set_may_hold_equals_signs_and_spaces(self) -> None:
        config = parsed("--set", " owners.index.url = unix:/a=b ").load({}).config
        self.assertEqual(config.owners["index"].url, ("unix:/a=b",))

    def test_config_is_read(self) -> None:
        name = self.mktemp()
        with open(name, "w") as file:
            file.write('[log]\nlevel = "error"\n')
        self.assertEqual(parsed("--config", name).load({}).config.log.level, "error")

    def test_config_is_read_again(self) -> None:
        """Also from another working folder, where twistd may have gone meanwhile."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        home = os.getcwd()
        self.addCleanup(os.chdir, home)
        for argv, environ in ((["--config", "node.toml"], {}), ([], {"MICRONODE_CONFIG": "node.toml"})):
            self.patch(os, "environ", environ)
            os.chdir(folder)
            Path("node.toml").write_text('[log]\nlevel = "error"\n')
            options = parsed(*argv)
            first = options.load().config
            again = options.load_again().config
            self.assertEqual((again, again.sources), (first, first.sources))
            os.chdir(home)
            (folder / "node.toml").write_text('[log]\nlevel = "debug"\n')
            self.assertEqual(options.load_again().config.log.level, "debug")
            (folder / "node.toml").write_text("[facets.graph]\nenabled = 1\n")
            self.assertRaises(ConfigError, options.load_again)
            (folder / "node.toml").write_text("[http]\ntls = true\n")
            error = self.assertRaises(ConfigError, options.load_again)
            self.assertIn("not available yet", str(error))

    def test_without_a_working_folder(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        folder.rmdir()
        self.patch(os, "environ", {})
        options = parsed("--log-level", "error")
        self.assertEqual(options.load().config, options.load_again().config)

    def test_what_came_once_is_not_read_again(self) -> None:
        options = parsed("--config", "-")
        self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'[log]\nlevel = "error"\n')))
        self.assertEqual(options.load({}).config.log.level, "error")
        self.patch(os, "environ", {})
        self.assertIn(
            "standard input, which cannot be read again",
            str(self.assertRaises(ConfigError, options.load_again)),
        )

    def test_usage_mistakes(self) -> None:
        for argv in (["--set", "x"], ["--set", "=1"], ["--http"], ["--htpp", "x"], ["serve"], ["--facets"]):
            error = self.assertRaises(CommandError, parsed, *argv)
            self.assertEqual(error.code, 64)
            self.assertRegex(error.lines[0], r"; see micronode run --help$")

    def test_refused_values_are_configuration(self) -> None:
        error = self.assertRaises(CommandError, parsed("--facets", "grph", "--http", "x").load, {})
        self.assertEqual((error.code, len(error.lines)), (78, 2))

    def test_a_node_without_facets_is_refused(self) -> None:
        off = [word for name in FACET_NAMES for word in ("--set", f"facets.{name}.enabled=false")]
        for argv, origin in (
            (["--facets", ""], "flag --facets: "),
            (["--facets", " ,"], "flag --facets: "),
            (off, "flag --set facets.graph.enabled, flag --set facets.search.enabled, "),
        ):
            error = self.assertRaises(CommandError, parsed(*argv).load, {})
            self.assertEqual(error.code, 78)
            self.assertTrue(error.lines[0].startswith(origin), error.lines)
            self.assertIn("as in --facets graph,search,feed,media", error.lines[0])

    def test_help_and_version_end_with_one_line_feed(self) -> None:
        for option in ("--help", "-h", "--version"):
            self.assertEqual(self.assertRaises(SystemExit, parsed, option).code, 0)
            self.assertRegex(self.printed, r"[^\n]\n\Z", option)

    def test_help_tells_every_option(self) -> None:
        text = str(NodeOptions())
        for name in (
            "--config",
            "--profile",
            "--http",
            "--admin",
            "--oap",
            "--pq",
            "--amnesia",
            "--no-amnesia",
            "--facets",
            "--log-level",
            "--set",
        ):
            self.assertIn(name, text)


class TwistdOptionsTests(CommandTestCase):
    def test_same_options(self) -> None:
        options = TwistdOptions()
        options.parseOptions(["--http", "127.0.0.1:1"])
        self.assertEqual(options.load({}).config.http.listen, "127.0.0.1:1")
        self.assertIn("twistd", str(options))

    def test_a_mistake_ends_with_64_though_twistd_would_end_with_0(self) -> None:
        ended = self.assertRaises(SystemExit, TwistdOptions().parseOptions, ["--htpp", "x"])
        self.assertEqual(ended.code, 64)
        self.assertIn("twistd micronode: option --htpp not recognized", self.complained)
        self.assertNotIsInstance(ended, usage.UsageError)

    def test_help_that_cannot_be_printed(self) -> None:
        self.patch(sys, "stdout", FullStream())
        ended = self.assertRaises(SystemExit, TwistdOptions().parseOptions, ["--help"])
        self.assertEqual(
            (ended.code, self.complained), (1, "micronode: cannot write to standard output: no space\n")
        )
