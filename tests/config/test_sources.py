"""Merging: every key from every source, who wins, and where each error is said to be."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.documents import Document
from micronode.config.kinds import ConfigError
from micronode.config.schema import KEYS, Config, OwnFacet
from micronode.config.sources import MAX_PROBLEMS, Flag, Loaded, facet_flags, load, merge
from tests.config.samples import ROWS, document, merged, mistyped, other, refusals


class EveryKeyTests(SynchronousTestCase):
    def check(self, path: str, loaded: Loaded, source: str) -> None:
        config = loaded.config
        self.assertEqual(config.values()[path], other(ROWS[path]), path)
        self.assertEqual(config.sources[path], source)

    def test_from_a_file(self) -> None:
        for path, row in ROWS.items():
            text = document(row, row.toml(other(row)))
            self.check(path, merged(file=("a.toml", text), beside=row), "a.toml:3")

    def test_from_the_environment(self) -> None:
        for path, row in ROWS.items():
            self.check(
                path, merged(environ={row.variable: row.show(other(row))}, beside=row), f"env {row.variable}"
            )

    def test_from_a_flag(self) -> None:
        for path, row in ROWS.items():
            self.check(
                path,
                merged(flags=[Flag(path, row.show(other(row)), "flag --set x")], beside=row),
                "flag --set x",
            )

    def test_a_stronger_source_wins(self) -> None:
        for path, row in ROWS.items():
            file = ("a.toml", document(row, row.toml(row.default)))
            weak = merged(file=file, environ={row.variable: row.show(other(row))}, beside=row)
            self.check(path, weak, f"env {row.variable}")
            strong = merged(
                file=file,
                beside=row,
                environ={row.variable: row.show(row.default)},
                flags=[Flag(path, row.show(other(row)), "flag --x")],
            )
            self.check(path, strong, "flag --x")

    def test_mistyped_in_a_file(self) -> None:
        for row in KEYS.values():
            wrong = ["{ a = 1 }", "1979-05-27", "nan", "[[]]"]
            wrong += ["3"] if row.kind.name not in ("INTEGER", "SIZE") else []
            wrong += ['"no such value"'] if row.kind.name != "FILE" else []
            for text in wrong:
                (line,) = refusals(file=("a.toml", document(row, text)))
                self.assertTrue(line.startswith(f"a.toml:3: {row.path} "), line)

    def test_mistyped_in_the_environment_or_a_flag(self) -> None:
        for path, row in KEYS.items():
            for text in [value for value in mistyped(row) if isinstance(value, str)]:
                (line,) = refusals(environ={row.variable: text})
                self.assertTrue(line.startswith(f"env {row.variable}: {path} "), line)
                (line,) = refusals(flags=[Flag(path, text, "flag --y")])
                self.assertTrue(line.startswith(f"flag --y: {path} "), line)


class FileTests(SynchronousTestCase):
    def test_bytes_that_editors_leave(self) -> None:
        name = self.mktemp()
        text = '\ufeff# c\r\n\r\n[http]\r\n\tlisten\t=\t"127.0.0.1:1"\r\n'
        Path(name).write_bytes(text.encode("utf-8"))
        config = load(environ={}, path=name).config
        self.assertEqual((config.http.listen, config.sources["http.listen"]), ("127.0.0.1:1", f"{name}:4"))

    def test_dotted_and_inline_forms(self) -> None:
        text = 'http.listen = "127.0.0.1:1"\nowners = { index = { url = "http://a", timeout = "1s" } }\n'
        sources = merged(file=("f", text)).config.sources
        self.assertEqual(
            dict(sources), {"http.listen": "f:1", "owners.index.url": "f:2", "owners.index.timeout": "f:2"}
        )

    def test_list_over_lines_is_placed_at_its_key(self) -> None:
        config = merged(file=("f", '[owners.index]\nurl = [\n"http://a",\n"http://b"\n]\n')).config
        self.assertEqual(config.owners["index"].url, ("http://a", "http://b"))
        self.assertEqual(config.sources["owners.index.url"], "f:2")

    def test_unknown_keys_are_placed(self) -> None:
        text = '[http]\nlisen = "x"\n\n[htp]\na = 1\n\n[owners.indx]\n\n[[admin]]\nlisten = "x"\n'
        self.assertEqual(
            [line.split(": ")[0] for line in refusals(file=("f", text))], ["f:2", "f:4", "f:7", "f:9"]
        )

    def test_a_duration_without_unit(self) -> None:
        (line,) = refusals(file=("f", "[timeouts]\nread = 5\n"))
        self.assertIn("has no unit", line)
        self.assertIn('did you mean "5s"?', line)
        (line,) = refusals(file=("f", '[overload]\nlag = "250"\n'))
        self.assertIn('did you mean "250ms"?', line)
        (line,) = refusals(file=("f", '[overload]\nlag = "999999"\n'))
        self.assertNotIn("did you mean", line)
        # What is too long as seconds was meant in milliseconds; what no unit makes fit, in none.
        (line,) = refusals(file=("f", "[overload]\nlag = 200\n"))
        self.assertIn('did you mean "200ms"?', line)
        (line,) = refusals(file=("f", "[overload]\nlag = 90000000\n"))
        self.assertNotIn("did you mean", line)
        self.assertEqual(merged(file=("f", "[drain]\ngrace = 0\n")).config.drain.grace, 0.0)

    def test_syntax_errors_are_placed(self) -> None:
        for text, place in [
            ("[http]\nlisten = = 3\n", "f:2"),
            ('[http]\r\n\r\nlisten = "x\r\n', "f:3"),
            ("[http]\n[http]\n", "f:2"),
            ("a = 1\na = 2\n", "f:2"),
            ("[http\n", "f:1"),
            ('x = """\n\n', "f:1"),
            ("x = [\n1,\n", "f:2"),
            ("x = " + "[" * 20_000, "f:1"),
            ("x = " + "9" * 5000, "f:1"),
        ]:
            (line,) = refusals(file=("f", text))
            self.assertTrue(line.startswith(f"{place}: "), line)

    def test_contradictions_are_placed(self) -> None:
        (line,) = refusals(file=("f", '[http]\nidle = "1s"\nlisten = "0.0.0.0:1"\n'))
        self.assertTrue(line.startswith("f:3: http.listen ="), line)

    def test_a_hidden_mistake_is_still_told(self) -> None:
        (line,) = refusals(
            file=("f", "[http]\nlisten = 3\n"), flags=[Flag("http.listen", "127.0.0.1:1", "flag --http")]
        )
        self.assertTrue(line.startswith("f:2"), line)


class HiddenTests(SynchronousTestCase):
    """What a file says in vain, since a variable or flag wins."""

    FILE = ("e.toml", "[drain]\ngrace = '2s'\n[facets.search]\nlimit = 7\n")

    def test_is_told(self) -> None:
        environ = {"MICRONODE_FACETS_SEARCH_LIMIT": "9", "MICRONODE_HTTP_IDLE": "9s"}
        loaded = merged(file=self.FILE, environ=environ, flags=[Flag("drain.grace", "1s", "flag --set x")])
        self.assertEqual(
            loaded.hidden,
            (
                "drain.grace of e.toml:2 is hidden by flag --set x",
                "facets.search.limit of e.toml:4 is hidden by env MICRONODE_FACETS_SEARCH_LIMIT",
            ),
        )

    def test_nothing_is_hidden(self) -> None:
        self.assertEqual(merged(file=self.FILE).hidden, ())
        self.assertEqual(merged(file=self.FILE, environ={"MICRONODE_DRAIN_GRACE": "2000ms"}).hidden, ())

    def test_by_another_file_is_what_including_is_for(self) -> None:
        documents = [Document.parse("base", "http.idle = '1s'"), Document.parse("top", "http.idle = '2s'")]
        self.assertEqual(merge(documents=documents).hidden, ())
        (line,) = merge(documents=documents, environ={"MICRONODE_HTTP_IDLE": "3s"}).hidden
        self.assertEqual(line, "http.idle of top:1 is hidden by env MICRONODE_HTTP_IDLE")


class NotAvailableTests(SynchronousTestCase):
    def test_no_advice_that_cannot_be_followed(self) -> None:
        for text in (
            'auth.mode = "required"',
            "http.tls = true",
            'tls.certificate = "/c"',
            'amnesia.enabled = true\npersistence.dir = "/x"',
            'auth.mode = "required"\nhttp.listen = "0.0.0.0:1"',
        ):
            (line,) = refusals(file=("f", text), to_run=True)
            self.assertIn("is not available yet", line)

    def test_others_are_told_as_well(self) -> None:
        text = 'http.tls = true\nadmin.listen = "0.0.0.0:1"\noap.listen = "127.0.0.1:5310"'
        lines = refusals(file=("f", text), to_run=True)
        self.assertEqual([line.split(": ")[0] for line in lines], ["f:1", "f:2", "f:3"])


class HintTests(SynchronousTestCase):
    def test_include_below_a_section(self) -> None:
        for section in ("http", "owners", "owners.index"):
            (line,) = refusals(file=("f", f'[{section}]\ninclude = ["a.toml"]'))
            self.assertIn(f"f:2: include is no key of [{section}]; write it at the top", line)

    def test_variables_that_resemble_nothing(self) -> None:
        for name in ("INCLUDE", "HOME", "DATA_DIR", "DEBUG", "USER", "TOKEN"):
            (line,) = refusals(environ={f"MICRONODE_{name}": "x"})
            self.assertNotIn("did you mean", line)
        for name, key in (("LOG_LEVL", "LOG_LEVEL"), ("CONFG", "CONFIG"), ("LISTEN", "OAP_LISTEN")):
            (line,) = refusals(environ={f"MICRONODE_{name}": "x"})
            self.assertIn(f"did you mean MICRONODE_{key}?", line)

    def test_a_flag_that_names_a_section(self) -> None:
        for path, key in (
            ("http", "http.listen"),
            ("owners", "owners.index.url"),
            ("facets.search", "facets.search.enabled"),
        ):
            (line,) = refusals(flags=[Flag(path, "off", f"flag --set {path}")])
            self.assertIn(f"{path} is a section, not a value; ", line)
            self.assertIn(f"name a key of it, as in --set {key}=VALUE", line)

    def test_a_list_as_a_file_has_it(self) -> None:
        for path, text in (("owners.index.url", '["http://a"]'), ("uds.uids", "[1000, 1]")):
            if path in KEYS:
                (line,) = refusals(flags=[Flag(path, text, "flag")])
                self.assertIn("write the items by comma, without brackets and quotes", line)
        hosts = merged(flags=[Flag("http.hosts", "[::1],a", "flag")]).config.http.hosts
        self.assertEqual(hosts, ("::1", "a"))

    def test_durations_in_other_words(self) -> None:
        for text, said in (
            ("1h30m", 'did you mean "90m"?'),
            ("2m 500ms", 'did you mean "120500ms"?'),
            ("1d", 'did you mean "24h"?'),
            ("2d", "out of range; use 1ms to 86400s"),
            ("-1s", "out of range; use 1ms to 86400s"),
            ("10min", 'did you mean "10m"?'),
            ("1w", "it takes a duration"),
            ("1h" * 30, "it takes a duration"),
        ):
            (line,) = refusals(flags=[Flag("http.idle", text, "flag")])
            self.assertIn(said, line)


class NamedFileTests(SynchronousTestCase):
    def test_none_is_read_unless_named(self) -> None:
        self.assertEqual(load(environ={}).config, Config())

    def test_the_flag_counts_more_than_the_variable(self) -> None:
        name = self.mktemp()
        Path(name).write_text('[log]\nlevel = "error"\n')
        self.assertEqual(load(environ={"MICRONODE_CONFIG": name}).config.log.level, "error")
        self.assertEqual(load(environ={"MICRONODE_CONFIG": "/nowhere"}, path=name).config.log.level, "error")

    def test_unreadable(self) -> None:
        directory = self.mktemp()
        Path(directory).mkdir()
        for name, reason in [
            ("/nowhere/x.toml", "no such file"),
            (directory, "is a directory"),
            ("", "names no file"),
            ("a\0b", "null"),
            ("/dev/zero", "larger than 1 MiB"),
        ]:
            for sources, where in [
                ({"environ": {}, "path": name}, "flag --config: "),
                ({"environ": {"MICRONODE_CONFIG": name}}, "env MICRONODE_CONFIG: "),
            ]:
                error = self.assertRaises(ConfigError, load, **sources)
                self.assertTrue(str(error).startswith(where), error)
                self.assertIn(reason, str(error))

    def test_nothing_but_mistakes(self) -> None:
        """What would be nearly right is looked up for each of them; that is not done without end."""
        name = self.mktemp()
        for count, told in ((MAX_PROBLEMS, MAX_PROBLEMS), (MAX_PROBLEMS + 2, MAX_PROBLEMS + 1)):
            Path(name).write_text("".join(f"x{number} = 1\n" for number in range(count)))
            error = self.assertRaises(ConfigError, load, environ={"MICRONODE_LOG_LEVEL": "x"}, path=name)
            self.assertEqual(len(error.problems), told + 1)
            self.assertIn("log.level", str(error.problems[-1]))
        self.assertIn("the rest was not looked at", str(error.problems[-2]))

    def test_not_utf8(self) -> None:
        name = self.mktemp()
        Path(name).write_bytes(b"# 1\n# \xff\n")
        error = self.assertRaises(ConfigError, load, environ={}, path=name)
        self.assertTrue(str(error).startswith(f"{name}:2: "), error)


class EnvironmentTests(SynchronousTestCase):
    def test_unknown_variables(self) -> None:
        (line,) = refusals(environ={"MICRONODE_HTTP_LISEN": "x"})
        self.assertIn("did you mean MICRONODE_HTTP_LISTEN?", line)
        self.assertTrue(refusals(environ={"MICRONODE_": "x"})[0].startswith("env MICRONODE_: unknown"))

    def test_what_kubernetes_sets_is_ignored_with_one_warning(self) -> None:
        loaded = merged(
            environ={
                "MICRONODE_PORT": "tcp://10.0.0.1:5310",
                "MICRONODE_PORT_5310_TCP_ADDR": "10.0.0.1",
                "MICRONODE_SERVICE_HOST": "10.0.0.1",
            }
        )
        self.assertEqual(loaded.config, Config())
        (warning,) = loaded.warnings
        self.assertIn("MICRONODE_PORT and 2 more", warning)

    def test_only_those_prefixes(self) -> None:
        for name in ("MICRONODE_PORTS", "MICRONODE_SERVICE"):
            (refused,) = refusals(environ={name: "1"})
            self.assertIn(name, str(refused))

    def test_others_are_nobodys_business(self) -> None:
        loaded = merged(environ={"HOME": "/x", "micronode_http_listen": "x", "XMICRONODE_A": "1"})
        self.assertEqual((loaded.config, loaded.warnings), (Config(), ()))

    def test_lists_by_comma(self) -> None:
        config = merged(environ={"MICRONODE_OWNERS_INDEX_URL": "http://a, http://b"}).config
        self.assertEqual(config.owners["index"].url, ("http://a", "http://b"))


class FlagTests(SynchronousTestCase):
    def test_the_last_of_two_wins(self) -> None:
        flags = [Flag("log.level", "error", "flag --a"), Flag("log.level", "debug", "flag --b")]
        config = merged(flags=flags).config
        self.assertEqual((config.log.level, config.sources["log.level"]), ("debug", "flag --b"))

    def test_facets_are_exactly_these(self) -> None:
        for names, enabled in [("media", {"media"}), ("graph, media", {"graph", "media"}), ("", set())]:
            config = merged(flags=facet_flags(names)).config
            self.assertEqual({name for name, facet in config.facets.items() if facet.enabled}, enabled)
            self.assertEqual(config.sources["facets.search.enabled"], "flag --facets")

    def test_unknown_facet(self) -> None:
        (line,) = refusals(flags=facet_flags("grph"))
        self.assertIn("flag --facets: [facets.grph] needs a kind", line)
        self.assertIn("(did you mean graph?)", line)

    def test_unknown_paths(self) -> None:
        for path in ("http", "http.listen.x", "", ".", "http.", "owners.index", "x"):
            (line,) = refusals(flags=[Flag(path, "1", "flag --set")])
            self.assertTrue(line.startswith("flag --set: "), line)


class OverridesTests(SynchronousTestCase):
    def test_kinds_of_sources(self) -> None:
        config = merged(
            file=("a.toml", '[http]\nidle = "1s"\n'),
            environ={"MICRONODE_NODE_PROFILE": "dev"},
            flags=[Flag("log.level", "debug", "flag --log-level")],
        ).config
        self.assertEqual(
            config.overrides(),
            {
                "auth.mode": "profile",
                "facets.media.enabled": "profile",
                "amnesia.enabled": "profile",
                "log.file_ok": "profile",
                "drain.grace": "profile",
                "http.idle": "file",
                "node.profile": "env",
                "log.level": "flag",
            },
        )
        self.assertEqual(Config.from_mapping({"http": {"idle": 1}}).overrides(), {})


class ShippedFilesTests(SynchronousTestCase):
    conf = Path(__file__).parents[2] / "conf"

    def test_both_load(self) -> None:
        config = load(environ={}, path=str(self.conf / "micronode.toml")).config
        self.assertEqual((config.node.profile, config.log.format), ("none", "json"))
        config = load(environ={}, path=str(self.conf / "micronode.dev.toml")).config
        self.assertEqual((config.node.profile, config.facets["media"].enabled), ("dev", True))

    def test_custom_is_ten_lines(self) -> None:
        name = self.conf / "micronode.custom.toml"
        loaded = load(environ={}, path=str(name), to_run=True)
        self.assertIsInstance(loaded.config.facets["hello"], OwnFacet)
        lines = [line for line in name.read_text("utf-8").splitlines() if line and not line.startswith("#")]
        self.assertLessEqual(len(lines), 10)

    def test_amnesia_off_is_production_without_it(self) -> None:
        loaded = load(environ={}, path=str(self.conf / "micronode.amnesia.off.toml"), to_run=True)
        production = load(environ={}, path=str(self.conf / "micronode.toml")).config
        self.assertEqual(loaded.config.values(), {**production.values(), "amnesia.enabled": False})

    def test_production_example_says_what_bounds_owners(self) -> None:
        text = (self.conf / "micronode.toml").read_text("utf-8")
        for name in ("idle", "stall"):
            comment = text.partition(f'\n# {name} = "{"60s" if name == "idle" else "5s"}"')[0]
            self.assertIn("owner", " ".join(comment.splitlines()[-2:]), name)

    def test_production_example_shows_every_built_key_and_its_default(self) -> None:
        """Uncommented, its commented keys give the defaults, and no key is missing."""
        text = (self.conf / "micronode.toml").read_text("utf-8")
        lines = [line.removeprefix("# ") if _is_setting(line) else line for line in text.splitlines()]
        whole = merged(file=("f", "\n".join(lines))).config
        shipped = merged(file=("f", text)).config
        self.assertLessEqual({path for path, row in KEYS.items() if row.built}, set(whole.sources))
        for path in set(whole.sources) - set(shipped.sources):
            self.assertEqual(whole.values()[path], KEYS[path].default, path)


def _is_setting(line: str) -> bool:
    name, equals, _ = line.removeprefix("# ").partition(" = ")
    return line.startswith("# ") and bool(equals) and name.isidentifier()
