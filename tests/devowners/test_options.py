"""Tests for :mod:`micronode.devowners.options`."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.members import NEEDED_OWNERS
from micronode.config.schema import KEYS, OWNER_NAMES, Config
from micronode.devowners.options import DEFAULTS, Options, StartError, parse_options


class OptionsTests(SynchronousTestCase):
    def refusal(self, *argv: str) -> str:
        error = self.assertRaises(StartError, parse_options, argv)
        self.assertEqual(error.exit_code, 64)
        return str(error)

    def test_defaults(self) -> None:
        options = parse_options([])
        self.assertEqual({name: str(address) for name, address in options.addresses.items()}, DEFAULTS)
        self.assertEqual(options.max_object_bytes, 2**30)
        self.assertIsNone(options.corpus)
        self.assertIsNone(options.data)

    def test_given(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        options = parse_options(
            "--index [::1]:0 --storage=unix:/tmp/s --corpus docs --data kept --max-object 64KiB"
            f" --log-level warning --report-fd {writing} --parent-fd {reading}".split()
        )
        self.assertIsInstance(options, Options)
        self.assertEqual(
            (str(options.addresses["index"]), str(options.addresses["storage"])), ("[::1]:0", "unix:/tmp/s")
        )
        self.assertEqual((options.corpus, options.data), (Path("docs"), Path("kept")))
        self.assertEqual(options.max_object_bytes, 65536)
        self.assertEqual((options.report_fd, options.parent_fd), (writing, reading))

    def test_who_reports_takes_free_ports(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        options = parse_options(["--report-fd", str(writing), "--policy", "127.0.0.1:9"])
        self.assertEqual(
            {str(options.addresses[name]) for name in DEFAULTS if name != "policy"}, {"127.0.0.1:0"}
        )
        self.assertEqual(str(options.addresses["policy"]), "127.0.0.1:9")

    def test_they_are_the_nodes_owners(self) -> None:
        self.assertEqual(set(DEFAULTS), set(OWNER_NAMES))
        for name in NEEDED_OWNERS:
            self.assertEqual(Config().owners[name].url, (f"http://{DEFAULTS[name]}",))

    def test_peers(self) -> None:
        options = parse_options(["--peer", "http://127.0.0.1:1/x", "--peer=unix:/run/s"])
        self.assertEqual(list(map(str, options.peers)), ["http://127.0.0.1:1/x", "unix:/run/s"])
        for peer in ("", "127.0.0.1:1", "https://a", "http://a:b@c", "ftp://a"):
            self.assertIn("--peer", self.refusal("--peer", peer))
        self.assertNotIn("b@c", self.refusal("--peer", "http://a:b@c"))

    def test_faults(self) -> None:
        options = parse_options(
            ["--fault", "index=500@0.5,policy=drip", "--fault=index=reset@0.5", "--fault-seed", ""]
        )
        self.assertEqual(
            {name: len(faults) for name, faults in options.faults.items()}, {"index": 2, "policy": 1}
        )
        self.assertEqual((options.fault_seed, options.fault_health), ("", False))
        self.assertTrue(parse_options(["--fault-health"]).fault_health)
        self.assertNotEqual(parse_options([]).fault_seed, parse_options([]).fault_seed)
        self.assertIn("did you mean stall?", self.refusal("--fault", "index=stal"))
        self.assertIn("did you mean storage?", self.refusal("--fault", "stoarge=500"))

    def test_only_loopback(self) -> None:
        for address in ("0.0.0.0:5321", "192.0.2.1:5321", "[::]:5321", "example.com:80"):
            self.assertIn("loopback", self.refusal("--index", address))

    def test_malformed_addresses_name_their_option(self) -> None:
        for address in (
            "",
            "5321",
            "127.0.0.1",
            "127.0.0.1:x",
            "127.0.0.1:65536",
            "unix:relative",
            "unix:/" + "x" * 108,
        ):
            self.assertIn("--storage", self.refusal("--storage", address))

    def test_sizes(self) -> None:
        for size in ("0", "-1", "1.5GiB", "1GB", "x", ""):
            self.assertIn("--max-object", self.refusal(f"--max-object={size}"))

    def test_descriptors_must_be_inherited_pipes(self) -> None:
        with open(os.devnull) as null:
            self.assertIn("not a pipe", self.refusal("--parent-fd", str(null.fileno())))
        self.assertIn("no such descriptor", self.refusal("--report-fd", "999"))
        self.assertIn("--report-fd", self.refusal("--report-fd", "x"))

    def test_unknown_options_and_levels(self) -> None:
        self.assertIn("--nope", self.refusal("--nope"))
        self.assertIn("extra", self.refusal("extra"))
        self.assertIn("--log-level", self.refusal("--log-level", "loud"))

    def test_levels_are_the_nodes(self) -> None:
        for level in KEYS["log.level"].choices:
            self.assertEqual(parse_options(["--log-level", level]).log_level, level)
        self.assertIn("warning", self.refusal("--log-level", "warn"))
