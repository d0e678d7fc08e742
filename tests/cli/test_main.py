"""Dispatch: commands, help, and how mistakes end."""

from importlib import import_module

from micronode import __version__
from micronode.cli import main as module
from micronode.cli.main import COMMANDS, main
from tests.cli.support import CommandTestCase


class MainTests(CommandTestCase):
    def test_help(self) -> None:
        for word in ("--help", "-h", "help"):
            self.assertEqual(main([word]), 0)
        for name in COMMANDS:
            self.assertRegex(self.printed, rf"(?m)^  {name} +\S")
        self.assertLessEqual(max(map(len, self.printed.splitlines())), 100)

    def test_every_command_has_its_module_and_help(self) -> None:
        for name in COMMANDS:
            self.assertTrue(callable(import_module(f"micronode.cli.{name}").main), name)
            self.assertEqual(main([name, "--help"]), 0, name)
            self.assertRegex(self.printed, rf"(?i)usage: micronode {name}")

    def test_version(self) -> None:
        self.assertEqual(main(["--version"]), 0)
        self.assertEqual(self.printed, f"micronode {__version__}\n")

    def test_nothing_given(self) -> None:
        self.assertEqual(main([]), 64)
        self.assertIn("no command given; commands are run", self.complained)

    def test_unknown_command(self) -> None:
        self.assertEqual(main(["rnu", "--help"]), 64)
        self.assertIn("unknown command 'rnu' (did you mean run?)", self.complained)
        self.assertEqual(main(["--verbose"]), 64)
        self.assertIn("unknown option '--verbose'", self.complained)

    def test_usage_mistakes_of_every_command(self) -> None:
        for name in COMMANDS:
            self.assertEqual(main([name, "--no-such-option"]), 64, name)
        self.assertNotIn("Traceback", self.complained)

    def test_configuration_refused(self) -> None:
        for name in ("run", "dev"):
            self.assertEqual(main([name, "--config", "/nowhere.toml"]), 78)
            self.assertEqual(main([name, "--http", "0.0.0.0:1", "--set", "log.level=loud"]), 78)
        lines = self.complained.splitlines()
        self.assertEqual(len(lines), 6)
        self.assertTrue(all(line.startswith("micronode: flag --") for line in lines), lines)

    def test_what_is_not_built_is_refused_by_whatever_runs_a_node(self) -> None:
        for name in ("run", "dev", "check"):
            self.assertEqual(main([name, "--pq", "required"]), 78)
        self.assertEqual(self.complained.count('flag --pq: pq.mode = "required" is not available yet'), 3)
        self.assertEqual(main(["config", "show", "--pq", "required"]), 0)
        self.assertIn('mode = "required"  # flag --pq (not available yet)', self.printed)

    def test_a_defect_is_called_one(self) -> None:
        def broken(name: str) -> object:
            raise ZeroDivisionError

        self.patch(module, "import_module", broken)
        self.assertEqual(main(["run"]), 70)
        self.assertIn("ZeroDivisionError", self.complained)
        self.assertIn("defect of micronode", self.complained)

    def test_interrupted_while_it_starts(self) -> None:
        def interrupted(name: str) -> object:
            raise KeyboardInterrupt

        self.patch(module, "import_module", interrupted)
        self.assertEqual((main(["run"]), self.complained), (1, ""))
