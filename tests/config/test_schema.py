"""The table and the Config made of it: defaults, checks on every key, equality, digests."""

import json
import re

import attrs
from twisted.trial.unittest import SynchronousTestCase

from micronode.config.kinds import NUMBERS, ConfigError, Key, Kind, plain
from micronode.config.schema import (
    FACET_NAMES,
    KEYS,
    OWNER_NAMES,
    PROFILES,
    SECTIONS,
    Config,
    Facet,
    Http,
    Limits,
    Oap,
    Owner,
    find_key,
)
from micronode.oap.wire import limits as wire
from tests.config.samples import ROWS, companions, mistyped, other


def nested(path: str, value: object) -> dict[str, object]:
    """Return the mapping that sets *path* alone."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value  # type: ignore[return-value]


def beside(row: Key, value: object) -> dict[str, object]:
    """Return the mapping that sets *row* and what it needs beside it."""
    mapping: dict[str, dict[str, object]] = {}
    for path, each in [*companions(row).items(), (row.path, value)]:
        inner: dict[str, object] = mapping  # type: ignore[assignment]
        *groups, name = path.split(".")
        for group in groups:
            inner = inner.setdefault(group, {})  # type: ignore[assignment]
        inner[name] = plain(each)
    return mapping  # type: ignore[return-value]


def problems(mapping: dict[str, object]) -> list[str]:
    """Return what is wrong with *mapping*, a line each."""
    try:
        Config.from_mapping(mapping)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


class TableTests(SynchronousTestCase):
    def test_every_key_is_described(self) -> None:
        for path, row in KEYS.items():
            self.assertRegex(row.doc, r"^\S.*[.]$", path)
            self.assertEqual(row.unit, {Kind.DURATION: "s", Kind.SIZE: "bytes"}.get(row.kind, ""), path)

    def test_timeouts_of_owners_say_so(self) -> None:
        """These two bound owners as well as callers (``micronode.adapters.build``)."""
        for path in ("timeouts.idle", "timeouts.stall"):
            self.assertIn("owner", KEYS[path].doc)

    def test_every_default_is_valid_and_canonical(self) -> None:
        for path, row in KEYS.items():
            value = row.read(row.default)
            self.assertEqual((value, type(value)), (row.default, type(row.default)), path)

    def test_every_number_is_bounded(self) -> None:
        for path, row in KEYS.items():
            if row.kind in NUMBERS:
                self.assertIsNotNone(row.minimum, path)
                self.assertIsNotNone(row.maximum, path)

    def test_variables_are_distinct(self) -> None:
        self.assertEqual(len({row.variable for row in KEYS.values()}), len(KEYS))
        self.assertEqual(KEYS["owners.index.url"].variable, "MICRONODE_OWNERS_INDEX_URL")

    def test_protocol_limits_can_only_be_lowered(self) -> None:
        for path, limit in [
            ("limits.max_frame", wire.MAX_FRAME_BYTES),
            ("limits.max_chunk", wire.MAX_CHUNK_BYTES),
            ("limits.decompress_ratio", wire.DECOMPRESS_RATIO),
        ]:
            self.assertEqual((KEYS[path].default, KEYS[path].maximum), (limit, limit))
            (line,) = problems(nested(path, limit + 1))
            self.assertIn("it may only be lowered", line)
        self.assertEqual(KEYS["limits.max_frame"].minimum, wire.MIN_MAX_FRAME_BYTES)
        caps = {path for path, row in KEYS.items() if row.maximum is not None and row.maximum == row.default}
        self.assertEqual(caps, {"limits.max_frame", "limits.max_chunk", "limits.decompress_ratio"})

    def test_profiles_set_known_keys_canonically(self) -> None:
        self.assertEqual(set(PROFILES), set(KEYS["node.profile"].choices))
        for values in PROFILES.values():
            for path, value in values.items():
                self.assertEqual(KEYS[path].read(value), value)

    def test_find_key_finds_each(self) -> None:
        for path, row in KEYS.items():
            self.assertIs(find_key(tuple(path.split("."))), row)


class DefaultsTests(SynchronousTestCase):
    def test_are_those_of_the_table(self) -> None:
        self.assertEqual(Config().values(), {path: row.default for path, row in KEYS.items()})
        self.assertEqual(Config().sources, {})

    def test_contract(self) -> None:
        config = Config()
        self.assertEqual(
            (config.http.listen, config.admin.listen, config.oap.listen),
            ("127.0.0.1:5310", "127.0.0.1:5311", "127.0.0.1:5312"),
        )
        self.assertEqual([config.facets[name].limit for name in ("graph", "search", "media")], [128, 96, 32])
        self.assertEqual(
            [config.facets[n].enabled for n in ("graph", "search", "media")], [True, True, False]
        )
        self.assertEqual((config.drain.grace, config.drain.deadline), (10.0, 5.0))
        self.assertEqual((config.limits.max_inflight, config.limits.max_object), (64, 2**30))
        self.assertEqual(config.owners["storage"].url, ("http://127.0.0.1:5323",))

    def test_an_empty_mapping_is_the_default(self) -> None:
        self.assertEqual(Config.from_mapping({}), Config())
        self.assertEqual(Config.from_mapping({"http": {}, "owners": {"index": {}}, "facets": {}}), Config())


class EveryKeyTests(SynchronousTestCase):
    def test_is_set_alone(self) -> None:
        for path, row in ROWS.items():
            value = other(row)
            config = Config.from_mapping(beside(row, plain(value)))
            profile = PROFILES[config.node.profile]
            whole = {**Config().values(), **profile, **companions(row), path: value}
            self.assertEqual(config.values(), whole, path)
            self.assertEqual(config.sources[path], "program")

    def test_refuses_what_is_mistyped(self) -> None:
        for path, row in KEYS.items():
            for value in mistyped(row):
                (line,) = problems(nested(path, value))
                self.assertTrue(line.startswith(path), line)
                self.assertRegex(line, r"; (it takes|use) ", line)

    def test_refuses_what_is_out_of_range(self) -> None:
        for path, row in KEYS.items():
            if row.minimum is None:
                continue
            for value in (row.minimum - 1, row.maximum + 1):
                (line,) = problems(nested(path, value))
                self.assertIn("out of range; use ", line)

    def test_takes_both_ends_of_its_range(self) -> None:
        for path, row in KEYS.items():
            if row.minimum is not None:
                self.assertEqual(
                    problems(nested(path, row.minimum)) + problems(nested(path, row.maximum)), []
                )


class UnknownTests(SynchronousTestCase):
    def test_each_level_hints(self) -> None:
        for mapping, line in [
            ({"htp": {"listen": 1}}, "htp: unknown section 'htp' (did you mean http?)"),
            ({"http": {"lisen": 1}}, "http.lisen: unknown key 'lisen' in [http] (did you mean listen?)"),
            ({"owners": {"indx": {}}}, "owners.indx: unknown name 'indx' in [owners] (did you mean index?)"),
            (
                {"facets": {"graph": {"limt": 1}}},
                "facets.graph.limt: unknown key 'limt' in [facets.graph] (did you mean limit?)",
            ),
        ]:
            (found,) = problems(mapping)
            self.assertTrue(found.startswith(line), found)

    def test_lists_what_there_is(self) -> None:
        self.assertIn(", ".join(SECTIONS), problems({"zzz": 1})[0])
        self.assertIn(", ".join(OWNER_NAMES), problems({"owners": {"zzz": 1}})[0])
        self.assertIn(", ".join(FACET_NAMES), problems({"facets": {"zzz": 1}})[0])

    def test_a_value_where_a_section_belongs(self) -> None:
        for mapping in ({"http": 3}, {"owners": "x"}, {"owners": {"index": "http://a"}}, {"http": [{}]}):
            (line,) = problems(mapping)
            self.assertRegex(line, r"is a section|there are|names")

    def test_odd_names(self) -> None:
        for mapping in ({"": 1}, {"http.listen": "127.0.0.1:1"}, {1: 2}, {"http": {"": 1}}):
            self.assertEqual(len(problems(mapping)), 1, mapping)  # type: ignore[arg-type]

    def test_all_are_told_at_once(self) -> None:
        mapping = {"http": {"lisen": 1, "idle": "x"}, "zzz": {}, "limits": {"max_frame": 1}}
        self.assertEqual(len(problems(mapping)), 4)  # type: ignore[arg-type]


class ContradictionTests(SynchronousTestCase):
    def test_only_local_listeners_while_open(self) -> None:
        for path in ("http.listen", "admin.listen", "oap.listen"):
            for listen in ("0.0.0.0:1", "[::]:1", "192.0.2.1:1", "example.org:1"):
                (line,) = problems(nested(path, listen))
                self.assertRegex(line, rf"^{re.escape(path)} = .* is not loopback.*auth.mode.*; use ")
            for listen in ("127.3.2.1:1", "[::1]:1", "localhost:1", "unix:/x"):
                self.assertEqual(problems(nested(path, listen)), [])

    def test_off(self) -> None:
        self.assertEqual(
            Config.from_mapping({"http": {"listen": "off"}, "oap": {"listen": "off"}}).oap, Oap(listen="off")
        )
        self.assertIn("cannot be off", problems({"admin": {"listen": "off"}})[0])

    def test_one_address_for_two(self) -> None:
        (line,) = problems({"oap": {"listen": "127.0.0.1:5310"}})
        self.assertIn("http.listen", line)
        self.assertEqual(problems({s: {"listen": "127.0.0.1:0"} for s in ("http", "admin", "oap")}), [])

    def test_authentication_comes_later(self) -> None:
        config = Config.from_mapping({"auth": {"mode": "required", "key_file": "/keys"}})
        error = self.assertRaises(ConfigError, config.require_built)
        self.assertIn("not available yet", str(error))
        self.assertEqual(len(error.problems), 2)


class ByHandTests(SynchronousTestCase):
    def test_sections_are_checked_and_canonical(self) -> None:
        self.assertEqual(Limits(max_frame="64KiB").max_frame, 65536)  # type: ignore[arg-type]
        error = self.assertRaises(ConfigError, Http, listen=5)
        self.assertIn("Http.listen", str(error))

    def test_whole_is_checked(self) -> None:
        self.assertRaises(ConfigError, Config, http=Http(listen="0.0.0.0:1"))

    def test_members_left_out_are_defaults(self) -> None:
        config = Config(owners={"index": Owner(url=("http://a:1",))})
        self.assertEqual(config.owners["index"].url, ("http://a:1",))
        self.assertEqual(config.owners["storage"], Config().owners["storage"])
        self.assertRaises(ConfigError, Config, owners={"indx": Owner(url=("http://a:1",))})
        self.assertRaises(TypeError, Config, facets={"graph": {"limit": 3}})

    def test_is_immutable(self) -> None:
        config = Config()
        self.assertRaises(attrs.exceptions.FrozenInstanceError, setattr, config, "http", Http())
        self.assertRaises(attrs.exceptions.FrozenInstanceError, setattr, config.http, "listen", "off")
        with self.assertRaises(TypeError):
            config.facets["graph"] = Facet(enabled=True, limit=1)  # type: ignore[index]


class DigestTests(SynchronousTestCase):
    def test_each_key_changes_it(self) -> None:
        digests = {Config().sha()}
        for row in ROWS.values():
            digests.add(Config.from_mapping(beside(row, other(row))).sha())
        self.assertEqual(len(digests), len(ROWS) + 1)

    def test_sources_do_not(self) -> None:
        config = Config.from_mapping({"http": {"listen": "127.0.0.1:5310"}})
        self.assertEqual((config.sha(), config), (Config().sha(), Config()))
        self.assertNotEqual(config.sources, Config().sources)

    def test_as_dict_is_json_and_comes_back(self) -> None:
        config = Config.from_mapping(
            {"node": {"profile": "dev"}, "owners": {"index": {"url": ["http://a", "http://b"]}}}
        )
        self.assertEqual(Config.from_mapping(json.loads(json.dumps(config.as_dict()))), config)


class ProfileTests(SynchronousTestCase):
    def test_dev(self) -> None:
        config = Config.from_mapping({"node": {"profile": "dev"}})
        self.assertEqual(
            (config.auth.mode, config.drain.grace, config.facets["media"].enabled), ("open", 0.0, True)
        )
        self.assertEqual(config.sources["drain.grace"], "profile dev")

    def test_what_is_set_counts_more(self) -> None:
        config = Config.from_mapping({"node": {"profile": "dev"}, "drain": {"grace": "1s"}})
        self.assertEqual((config.drain.grace, config.sources["drain.grace"]), (1.0, "program"))
