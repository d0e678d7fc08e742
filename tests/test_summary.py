"""The last line of a whole run adds up what really ran."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.summary import count, main

TRIAL = "test_x ... [OK]\n\n-----\nRan 12 tests in 0.100s\n\n{}\n"
PYTEST = "....\n{}\n"

#: trial's closing line, what it means.
TRIAL_LINES = (
    ("PASSED (successes=9)", (9, 0, 0)),
    ("PASSED (skips=2, successes=9)", (9, 0, 2)),
    ("FAILED (failures=1, errors=2, successes=9)", (9, 3, 0)),
    ("PASSED (skips=1, expectedFailures=2, successes=9)", (11, 0, 1)),
    ("FAILED (unexpectedSuccesses=1, successes=9)", (9, 1, 0)),
    ("PASSED", (0, 0, 0)),
)
PYTEST_LINES = (
    ("5 passed in 0.50s", (5, 0, 0)),
    ("1 failed, 4 passed in 61.20s (0:01:01)", (4, 1, 0)),
    ("1 failed, 4 passed, 2 skipped, 3 deselected, 1 warning, 2 errors in 0.50s", (4, 3, 2)),
    ("1 error in 0.50s", (0, 1, 0)),
    ("===== 3 passed, 1 xfailed, 1 xpassed in 0.10s =====", (4, 1, 0)),
    ("no tests ran in 0.01s", (0, 0, 0)),
)


class CountTests(SynchronousTestCase):
    """count()."""

    def counted(self, trial: str, pytest: str) -> tuple[int, int, int]:
        found = count(pytest, trial)
        return found["passed"], found["failed"], found["skipped"]

    def test_trial(self) -> None:
        for line, expected in TRIAL_LINES:
            self.assertEqual(
                self.counted(TRIAL.format(line), PYTEST.format("no tests ran in 0.01s")), expected
            )

    def test_pytest(self) -> None:
        for line, expected in PYTEST_LINES:
            self.assertEqual(self.counted(TRIAL.format("PASSED"), PYTEST.format(line)), expected, line)

    def test_both(self) -> None:
        trial, pytest = "PASSED (skips=1, successes=9)", "1 failed, 4 passed in 0.50s"
        self.assertEqual(self.counted(TRIAL.format(trial), PYTEST.format(pytest)), (13, 1, 1))

    def test_several_of_trial(self) -> None:
        found = count(
            PYTEST.format("1 passed in 0.1s"),
            TRIAL.format("PASSED (successes=9)"),
            TRIAL.format("FAILED (errors=1, successes=2)"),
        )
        self.assertEqual(found, {"passed": 12, "failed": 1, "skipped": 0})

    def test_the_last_counts(self) -> None:
        """A test may print what looks like a closing line."""
        trial = "PASSED (successes=99)\n" + TRIAL.format("FAILED (errors=1)")
        self.assertEqual(self.counted(trial, PYTEST.format("1 passed in 0.1s")), (1, 1, 0))

    def test_one_never_ended(self) -> None:
        """Killed, or it could not even begin: that is not a run without failures."""
        for trial, pytest, whose in (
            ("Killed\n", PYTEST.format("1 passed in 0.1s"), "trial"),
            (TRIAL.format("PASSED (successes=1)"), "ImportError: conftest\n", "pytest"),
            ("", "", "trial"),
        ):
            error = self.assertRaises(ValueError, count, pytest, trial)
            self.assertEqual(str(error), f"{whose} never came to its end")


class MainTests(SynchronousTestCase):
    """The script that bin/test.sh ends with."""

    def run_with(self, trial: str, pytest: str) -> tuple[int, str]:
        names = []
        for text in (pytest, trial):
            path = Path(self.mktemp())
            path.write_text(text, "utf-8")
            names.append(str(path))
        with redirect_stdout(io.StringIO()) as out:
            code = main(names)
        return code, out.getvalue()

    def test_exit_codes(self) -> None:
        for trial, pytest, expected in (
            ("PASSED (skips=1, successes=9)", "5 passed in 0.5s", (0, "14 passed, 0 failed, 1 skipped\n")),
            ("FAILED (errors=1, successes=9)", "5 passed in 0.5s", (1, "14 passed, 1 failed, 0 skipped\n")),
            ("PASSED", "no tests ran in 0.5s", (1, "0 passed, 0 failed, 0 skipped\n")),
            ("Killed", "5 passed in 0.5s", (1, "FAILED: trial never came to its end\n")),
        ):
            self.assertEqual(self.run_with(TRIAL.format(trial), PYTEST.format(pytest)), expected)

    def test_what_the_runners_really_say(self) -> None:
        """A trial run of a test that passes, one that fails and one that is skipped."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "probe_summary.py").write_text(
            "from twisted.trial.unittest import SynchronousTestCase\n"
            "class T(SynchronousTestCase):\n"
            "    def test_a(self): pass\n"
            "    def test_b(self): self.fail('b')\n"
            "    def test_c(self): pass\n"
            "    test_c.skip = 'c'\n",
            "utf-8",
        )
        done = subprocess.run(
            [sys.executable, "-m", "twisted.trial", "probe_summary"],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=folder,
            check=False,
        )
        found = count(PYTEST.format("no tests ran in 0.1s"), done.stdout)
        self.assertEqual(found, {"passed": 1, "failed": 1, "skipped": 1})
