"""What /version says of the build and of what is in force."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import micronode
from micronode.config.schema import BUILT_FACETS, Config
from micronode.config.sources import Flag
from micronode.observability.version import build_version, read_git_sha, runtime_version
from tests.config.samples import BUILT_ROWS, document, merged, other

SHA = "0123456789abcdef0123456789abcdef01234567"
OTHER_SHA = "f" * 40


class GitShaTests(SynchronousTestCase):
    """read_git_sha() on checkouts of every kind."""

    def setUp(self) -> None:
        self.checkout = Path(self.mktemp())
        self.git = self.checkout / ".git"

    def write(self, name: str, text: str) -> None:
        path = self.checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def test_no_checkout(self) -> None:
        self.assertEqual(read_git_sha(self.checkout), "unknown")

    def test_a_branch(self) -> None:
        self.write(".git/HEAD", "ref: refs/heads/topic/one\n")
        self.write(".git/refs/heads/topic/one", f"{SHA}\n")
        self.assertEqual(read_git_sha(self.checkout), SHA)

    def test_detached(self) -> None:
        self.write(".git/HEAD", f"{SHA}\n")
        self.assertEqual(read_git_sha(self.checkout), SHA)

    def test_packed(self) -> None:
        self.write(".git/HEAD", "ref: refs/heads/main\n")
        self.write(
            ".git/packed-refs",
            "# pack-refs with: peeled fully-peeled sorted\n"
            f"{OTHER_SHA} refs/heads/main2\n{SHA} refs/heads/main\n"
            f"{OTHER_SHA} refs/tags/caf\u00e9\n^{OTHER_SHA}\n",
        )
        self.assertEqual(read_git_sha(self.checkout), SHA)

    def test_loose_before_packed(self) -> None:
        """A branch that moved since the last packing."""
        self.write(".git/HEAD", "ref: refs/heads/main\n")
        self.write(".git/packed-refs", f"{OTHER_SHA} refs/heads/main\n")
        self.write(".git/refs/heads/main", SHA)
        self.assertEqual(read_git_sha(self.checkout), SHA)

    def test_worktree(self) -> None:
        self.write("main/.git/worktrees/tree/HEAD", "ref: refs/heads/topic\n")
        self.write("main/.git/worktrees/tree/commondir", "../..\n")
        self.write("main/.git/refs/heads/topic", SHA)
        self.write(".git", f"gitdir: {self.checkout.absolute()}/main/.git/worktrees/tree\n")
        self.assertEqual(read_git_sha(self.checkout), SHA)

    def test_submodule(self) -> None:
        """Its .git names a folder relative to itself."""
        self.write("modules/sub/HEAD", SHA)
        self.write(".git", "gitdir: modules/sub\n")
        self.assertEqual(read_git_sha(self.checkout), SHA)

    def test_no_commit_yet(self) -> None:
        self.write(".git/HEAD", "ref: refs/heads/main\n")
        self.assertEqual(read_git_sha(self.checkout), "unknown")
        self.write(".git/packed-refs", "# pack-refs with: peeled\n")
        self.assertEqual(read_git_sha(self.checkout), "unknown")

    def test_what_is_no_commit(self) -> None:
        for text in ("", "ref: ", "nonsense", SHA[:39], SHA.upper(), f"{SHA} {SHA}", "caf\u00e9"):
            self.write(".git/HEAD", text)
            self.assertEqual(read_git_sha(self.checkout), "unknown", text)

    def test_long_hashes(self) -> None:
        self.write(".git/HEAD", SHA[:32] * 2)
        self.assertEqual(read_git_sha(self.checkout), SHA[:32] * 2)


class BuildVersionTests(SynchronousTestCase):
    """build_version()."""

    def setUp(self) -> None:
        self.version = build_version()

    def test_shape(self) -> None:
        self.assertEqual(
            list(self.version), ["service", "version", "git_sha", "build_ts", "python", "api", "build"]
        )
        self.assertEqual(list(self.version["build"]), ["features", "twisted", "openssl"])
        self.assertEqual(self.version["service"], "micronode")
        self.assertEqual(self.version["version"], micronode.__version__)
        self.assertEqual(self.version["api"], {"http": "v1", "oap": [1]})
        json.dumps(self.version)

    def test_build_time(self) -> None:
        """With its zone, and not before the project began."""
        written = datetime.fromisoformat(self.version["build_ts"])
        self.assertIsNotNone(written.tzinfo)
        self.assertGreater(written.year, 2024)

    def test_git_sha(self) -> None:
        self.assertRegex(self.version["git_sha"], r"^([0-9a-f]{40}|[0-9a-f]{64}|unknown)$")

    def test_libraries(self) -> None:
        self.assertRegex(self.version["build"]["twisted"], r"^\d+\.\d+")
        self.assertTrue(self.version["build"]["openssl"].startswith("OpenSSL "))
        self.assertTrue(re.fullmatch(r"3\.\d+\.\d+\S*", self.version["python"]))


class FeaturesTests(SynchronousTestCase):
    """Features: what is built in, whatever an installation was asked for."""

    def test_features(self) -> None:
        self.assertEqual(build_version()["build"]["features"], ["feed", "graph", "media", "search"])

    def test_installation_adds_nothing(self) -> None:
        """A checkout and an installed copy agree."""
        site = Path(self.mktemp()).absolute()
        folder = site / "micronode-9.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(
            "Metadata-Version: 2.4\nName: micronode\nVersion: 9\nProvides-Extra: feed\nProvides-Extra: pq\n"
            'Requires-Dist: attrs>=24.1; extra == "pq"\n',
            "utf-8",
        )
        # The first installation on the path is the one that counts.
        self.patch(sys, "path", [str(site), *sys.path])
        self.assertEqual(build_version()["build"]["features"], ["feed", "graph", "media", "search"])

    def test_each_is_served(self) -> None:
        """Nothing is listed that a node cannot have switched on."""
        self.assertEqual(build_version()["build"]["features"], sorted(BUILT_FACETS))


class RuntimeVersionTests(SynchronousTestCase):
    """runtime_version()."""

    def test_shape(self) -> None:
        runtime = runtime_version(Config(), [])
        self.assertEqual(
            list(runtime),
            ["config_sha", "profile", "amnesia", "pq", "facets", "limits", "overrides"],
        )
        self.assertRegex(runtime["config_sha"], "^[0-9a-f]{64}$")
        self.assertEqual(set(runtime["amnesia"]), {"enabled", "enforced", "not_covered"})
        self.assertEqual(set(runtime["pq"]), {"mode", "adapter", "kex", "sign"})
        self.assertEqual(runtime["overrides"], {})
        json.dumps(runtime)

    def test_every_key_that_is_set_shows(self) -> None:
        """From each layer: the layer, and another digest."""
        digest = Config().sha()
        for path, row in BUILT_ROWS.items():
            text = row.show(other(row))
            for layer, loaded in (
                ("file", merged(file=("env x.toml", document(row, row.toml(other(row)))), beside=row)),
                ("env", merged(environ={row.variable: text}, beside=row)),
                ("flag", merged(flags=[Flag(path, text, f"flag --set {path}")], beside=row)),
            ):
                runtime = runtime_version(loaded.config, [])
                self.assertEqual(runtime["overrides"][path], layer, path)
                self.assertNotEqual(runtime["config_sha"], digest)

    def test_limits_are_those_in_force(self) -> None:
        limits = runtime_version(Config(), [])["limits"]
        built = {path.partition(".")[2] for path in BUILT_ROWS if path.startswith("limits.")}
        self.assertEqual(set(limits), built)
        self.assertLessEqual({"max_frame", "max_calls", "rps"}, built)

    def test_it_is_the_configuration_s(self) -> None:
        config = Config()
        runtime = runtime_version(config, ("search", "own"))
        self.assertEqual(runtime["facets"], ["search", "own"])
        self.assertEqual(runtime["limits"]["max_frame"], config.limits.max_frame)
        self.assertIn("decompress_ratio", runtime["limits"])
