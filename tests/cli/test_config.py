"""micronode config: every key's value and source, in both forms; a file to begin with."""

import json
import tomllib
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock

from micronode.cli import check
from micronode.cli.main import main
from micronode.cli.options import NodeOptions
from micronode.config.kinds import Kind
from micronode.config.schema import KEYS, PROFILES, Config
from micronode.config.sources import load
from micronode.node import make_node
from tests.cli.support import CommandTestCase
from tests.config.samples import BUILT_ROWS, ROWS, companions, document, other
from tests.support.certificates import make_authority


def _pem_files(folder: Path) -> dict[str, str]:
    """Return files, by the name of the key that may name them, of which a node can be made."""
    folder.mkdir()
    certificate, private_key = make_authority().save(folder, "pem")
    return {"ca": certificate, "certificate": certificate, "private_key": private_key}


class ShowTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.environ: dict[str, str] = {}
        self.patch(check.os, "environ", self.environ)

    def show(self, *argv: str) -> str:
        """Return what ``micronode config show`` prints."""
        self.out.seek(0)
        self.out.truncate()
        self.assertEqual(main(["config", "show", *argv]), 0, self.complained)
        return self.printed

    def keys(self, *argv: str) -> dict[str, dict[str, object]]:
        shown: dict[str, dict[str, object]] = json.loads(self.show("--json", *argv))["keys"]
        return shown

    def test_every_key_from_each_layer(self) -> None:
        """Default, file, variable, flag: the stronger one wins, and is named."""
        name = self.mktemp()
        for path, row in ROWS.items():
            changed = row.show(other(row))
            # Another than the file's; for files not the default, which is none, and some go in pairs.
            second = "/second" if row.kind is Kind.FILE else row.show(row.default)
            Path(name).write_text(document(row, row.toml(other(row))), "utf-8")
            plain = json.loads(json.dumps(Config().as_dict()))
            for part in path.split("."):
                plain = plain[part]
            self.environ.clear()
            alone = self.keys()[path]
            self.assertEqual((alone["value"], alone["source"]), (plain, "default"))
            self.environ |= {KEYS[each].variable: KEYS[each].show(to) for each, to in companions(row).items()}
            filed = self.keys(name)[path]
            self.assertNotEqual(filed["value"], plain)
            self.assertEqual(filed["source"], f"{name}:3", path)
            self.environ[row.variable] = second
            varied = self.keys(name)[path]
            self.assertEqual(varied["value"], second if row.kind is Kind.FILE else plain, path)
            self.assertEqual(varied["source"], f"env {row.variable}")
            flagged = self.keys(name, f"--set={path}={changed}")[path]
            self.assertEqual(
                (flagged["value"], flagged["source"]), (filed["value"], f"flag --set {path}"), path
            )

    def flagged(self, *argv: str) -> dict[str, str]:
        """Return the layers that ``/version`` of a node names, by key; its digest is its own."""
        options = NodeOptions()
        options.parse(argv)
        config = options.load().config
        runtime = make_node(config, MemoryReactorClock()).probes.version()["runtime"]
        self.assertEqual(runtime["config_sha"], config.sha())
        overrides: dict[str, str] = runtime["overrides"]
        return overrides

    def test_every_built_key_from_each_layer_is_flagged_in_version(self) -> None:
        """The same of a node: what it runs with says from which layer each value came."""
        name = self.mktemp()
        files = _pem_files(Path(self.mktemp()))
        self.assertEqual(self.flagged(), {})
        for path, row in BUILT_ROWS.items():
            self.environ.clear()
            value = files.get(row.name) or other(row)
            for beside, needed in companions(row).items():
                key = KEYS[beside]
                self.environ[key.variable] = key.show(files.get(key.name) or needed)
            Path(name).write_text(document(row, row.toml(value)), "utf-8")
            file, flag = ("--config", name), f"--set={path}={row.show(value)}"
            self.assertEqual(self.flagged(*file)[path], "file", path)
            self.environ[row.variable] = row.show(value if companions(row) else row.default)
            self.assertEqual(self.flagged(*file)[path], "env", path)
            self.assertEqual(self.flagged(*file, flag)[path], "flag", path)
        for path in PROFILES["dev"]:
            self.assertEqual(self.flagged("--profile", "dev")[path], "profile", path)

    def test_profile(self) -> None:
        keys = self.keys("--profile", "dev")
        self.assertEqual(keys["drain.grace"]["source"], "profile dev")
        self.assertEqual(keys["node.profile"]["source"], "flag --profile")

    def test_every_key_has_value_and_source_in_both_forms(self) -> None:
        self.assertEqual(set(self.keys()), set(KEYS))
        text = self.show()
        for row in KEYS.values():
            mark = "" if row.built else r" \(not available yet\)"
            self.assertRegex(text, rf"(?m)^{row.name} = .*  # default{mark}$")
        self.assertEqual(self.show("--format", "json"), self.show("--json"))

    def test_toml_is_the_same_configuration(self) -> None:
        argv = ["--http", "unix:/run/h", "--set", "owners.index.url=http://a,http://b", "--pq", "hybrid"]
        argv += ["--set", "facets.x.kind=echo", "--set", "facets.x.routes=GET /{rest} read, POST /a write"]
        name = self.mktemp()
        Path(name).write_text(self.show(*argv), "utf-8")
        first = json.loads(self.show("--json", *argv))
        again = json.loads(self.show("--json", name))
        self.assertEqual(first["config_sha"], again["config_sha"])
        self.assertEqual(again["keys"]["facets.x.routes"]["value"][1]["path"], "/a")

    def test_asks_no_owner(self) -> None:
        self.assertEqual(main(["config", "show", "--deep"]), 64)
        self.assertIn("option --deep not recognized", self.complained)
        self.assertEqual(main(["config", "show", "--help"]), 0)
        self.assertNotIn("--deep", self.printed)

    def test_refused(self) -> None:
        self.assertEqual(main(["config", "show", "--http", "x"]), 78)
        self.assertEqual(main(["config", "show", "--format", "jsn"]), 64)
        self.assertIn("did you mean json?", self.complained)

    def test_a_key_in_the_place_of_its_file_is_not_repeated(self) -> None:
        secret = "k1 " + "ab" * 32
        for path in ("auth.key_file", "tls.private_key", "pq.identity_key"):
            self.assertEqual(main(["config", "show", f"--set={path}={secret}"]), 78)
        self.assertEqual(main(["config", "show", "--set=owners.index.url=http://u:abab@host"]), 78)
        self.assertNotIn("abab", self.complained + self.printed)


class InitTests(CommandTestCase):
    def test_names_every_key_and_sets_none(self) -> None:
        self.assertEqual(main(["config", "init"]), 0)
        text = self.printed
        self.assertEqual(self.load(text), Config())
        self.assertEqual(Config().sources, {})
        lines = [_uncommented(line) for line in text.splitlines()]
        whole = tomllib.loads("\n".join(lines))
        self.assertEqual(Config.from_mapping(whole), Config())
        self.assertEqual(set(Config.from_mapping(whole).sources), set(KEYS))
        self.assertLessEqual(max(map(len, text.splitlines())), 110)

    def load(self, text: str) -> Config:
        name = self.mktemp()
        Path(name).write_text(text, "utf-8")
        return load(environ={}, path=name).config


class GroupTests(CommandTestCase):
    def test_commands(self) -> None:
        self.assertEqual(main(["config"]), 64)
        self.assertEqual(main(["config", "shwo"]), 64)
        self.assertIn("unknown command config 'shwo' (did you mean show?)", self.complained)
        for name in ("show", "init"):
            self.assertEqual(main(["config", name, "--help"]), 0)
            self.assertIn(f"Usage: micronode config {name}", self.printed)
            self.assertEqual(main(["config", name, "--no-such"]), 64)
        self.assertIn("see micronode config show --help", self.complained)


def _uncommented(line: str) -> str:
    name, equals, _ = line.removeprefix("# ").partition(" = ")
    is_setting = line.startswith("# ") and equals and name.isidentifier() and name != "include"
    return line.removeprefix("# ") if is_setting else line
