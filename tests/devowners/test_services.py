"""Tests for :mod:`micronode.devowners.services`."""

import io
import tempfile
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.index import Index
from micronode.devowners.log import JSONLog
from micronode.devowners.options import DEFAULTS, StartError, parse_options
from micronode.devowners.services import Services
from micronode.devowners.storage import ObjectStore, run_at_once


class Reactor(MemoryReactorClock):
    """One that is never started."""

    def callWhenRunning(self, call: object, *args: object, **kwargs: object) -> None:
        """See IReactorCore."""


class ServicesTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data = Path(folder.name, "data")

    def make(self, *argv: str) -> Services:
        options = parse_options(["--data", str(self.data), *argv])
        return Services(options, Reactor(), JSONLog(io.StringIO()), run_at_once)

    def check_released(self) -> None:
        """Nobody holds the files."""
        for engine in (Index(self.data), ObjectStore(self.data)):
            engine.close()

    def test_all_five(self) -> None:
        services = self.make("--peer", "http://127.0.0.1:1", "--peer", "unix:/run/s")
        self.assertEqual(list(services.owners), list(DEFAULTS))
        self.assertEqual([owner.name for owner in services.owners.values()], list(DEFAULTS))
        self.assertEqual(
            {path.name for path in self.data.glob("*.sqlite")},
            {"index.sqlite", "mailbox.sqlite", "storage.sqlite"},
        )
        services.close()
        services.close()
        self.check_released()

    def test_one_that_cannot_be_opened(self) -> None:
        self.data.mkdir()
        (self.data / "mailbox.sqlite").write_text("no database, but long enough to be looked at " * 9)
        error = self.assertRaises(StartError, self.make)
        self.assertEqual(error.exit_code, 78)
        self.assertIn("mailbox.sqlite", str(error))
        self.check_released()

    def test_rules_that_cannot_be_used(self) -> None:
        error = self.assertRaises(StartError, self.make, "--rules", "/nowhere/rules.toml")
        self.assertEqual(error.exit_code, 78)
        self.assertIn("--rules /nowhere/rules.toml: No such file", str(error))
        # It is the first thing that is looked at.
        self.assertFalse(self.data.exists())
