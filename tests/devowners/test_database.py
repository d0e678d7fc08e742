"""Tests for :mod:`micronode.devowners.database`."""

import sqlite3
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.database import open_database, prepare_directory
from micronode.devowners.options import StartError

SCHEMA = "CREATE TABLE things (name TEXT)"


class PrepareDirectoryTests(SynchronousTestCase):
    def mode(self, path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    def test_a_new_one_is_private(self) -> None:
        path = Path(self.mktemp(), "deep")
        prepare_directory(path)
        self.assertEqual(self.mode(path), 0o700)

    def test_an_empty_one_is_made_private(self) -> None:
        path = Path(self.mktemp())
        path.mkdir(mode=0o755)
        prepare_directory(path)
        self.assertEqual(self.mode(path), 0o700)

    def test_one_with_other_things_keeps_its_mode(self) -> None:
        path = Path(self.mktemp())
        path.mkdir()
        path.chmod(0o755)
        (path / "letter.txt").write_text("mine")
        prepare_directory(path)
        self.assertEqual(self.mode(path), 0o755)

    def test_a_file_is_refused(self) -> None:
        path = Path(self.mktemp())
        path.write_text("")
        error = self.assertRaises(StartError, prepare_directory, path)
        self.assertEqual(error.exit_code, 78)
        self.assertIn(str(path), error.message)


class OpenDatabaseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def open(self, version: int = 1, directory: Path | None = None) -> sqlite3.Connection:
        return open_database(directory or self.directory, "things", SCHEMA, version=version)

    def refusal(self, version: int = 1) -> str:
        error = self.assertRaises(StartError, self.open, version)
        self.assertEqual(error.exit_code, 78)
        self.assertIn("things.sqlite", error.message)
        return error.message

    def test_tables_are_made_once_and_kept(self) -> None:
        first = self.open()
        first.execute("INSERT INTO things VALUES ('a')")
        first.close()
        second = self.open()
        self.addCleanup(second.close)
        self.assertEqual(second.execute("SELECT name FROM things").fetchall(), [("a",)])

    def test_in_memory_leaves_no_file(self) -> None:
        database = open_database(None, "things", SCHEMA, version=1)
        database.execute("INSERT INTO things VALUES ('a')")
        database.close()
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_somebody_else_has_it(self) -> None:
        database = self.open()
        self.addCleanup(database.close)
        self.assertIn("in use", self.refusal())

    def test_another_version(self) -> None:
        self.open(version=2).close()
        self.assertIn("another version", self.refusal(version=1))

    def test_somebody_elses_database(self) -> None:
        other = sqlite3.connect(self.directory / "things.sqlite")
        other.execute("CREATE TABLE theirs (x)")
        other.close()
        self.assertIn("another version", self.refusal())

    def test_no_database(self) -> None:
        (self.directory / "things.sqlite").write_text("x" * 5000)
        self.assertIn("not a database", self.refusal())

    def test_no_file(self) -> None:
        (self.directory / "things.sqlite").mkdir()
        self.assertIn("not a plain file", self.refusal())
