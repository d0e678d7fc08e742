"""Add up what trial and pytest said of themselves: the last line of a whole run.

``summary.py PYTEST_OUTPUT TRIAL_OUTPUT...`` exits 1 when something failed, when nothing ran, or when one of
them never came to its closing line.
"""

import re
import sys
from pathlib import Path

#: trial's closing line: ``PASSED (skips=1, successes=9)``, or the bare word when nothing ran.
_TRIAL_CLOSING = re.compile(r"(?:PASSED|FAILED)(?: \((.*)\))?")
_TRIAL = re.compile(r"(\w+)=(\d+)")
#: pytest's: ``1 failed, 12 passed, 2 warnings in 0.50s``, between ``=`` unless it is quiet.
_PYTEST_CLOSING = re.compile(r"=* ?((?:\d+ \w+, )*\d+ \w+|no tests ran) in [\d.]+s.*")
_PYTEST = re.compile(r"(\d+) (\w+)")
#: What counts as what. An expected failure is a test that did what its author said, an unexpected
#: success one that did not.
_MEANING = {
    "successes": "passed",
    "failures": "failed",
    "errors": "failed",
    "skips": "skipped",
    "expectedFailures": "passed",
    "unexpectedSuccesses": "failed",
    "passed": "passed",
    "failed": "failed",
    "error": "failed",
    "skipped": "skipped",
    "xfailed": "passed",
    "xpassed": "failed",
}


def count(pytest: str, *trials: str) -> dict[str, int]:
    """Return how many tests passed, failed and were skipped, by the runners' closing lines.

    :param pytest: what pytest printed.
    :param trials: what each run of trial printed.

    :raises ValueError: there is none; the message says whose.
    """
    total = {"passed": 0, "failed": 0, "skipped": 0}
    for trial in trials:
        for word, number in _TRIAL.findall(_closing("trial", _TRIAL_CLOSING, trial)):
            total[_MEANING[word]] += int(number)
    for number, word in _PYTEST.findall(_closing("pytest", _PYTEST_CLOSING, pytest)):
        # Warnings and what was deselected are no tests.
        if word in _MEANING:
            total[_MEANING[word]] += int(number)
    return total


def _closing(runner: str, pattern: re.Pattern[str], text: str) -> str:
    found = [match for line in text.splitlines() if (match := pattern.fullmatch(line.rstrip()))]
    if not found:
        raise ValueError(f"{runner} never came to its end")
    return found[-1][1] or ""


def main(argv: list[str]) -> int:
    """Print the sum of the outputs that *argv* names; return the exit code."""
    try:
        found = count(*(Path(name).read_text("utf-8", "replace") for name in argv))
    except ValueError as error:
        print(f"FAILED: {error}")
        return 1
    print(f"{found['passed']} passed, {found['failed']} failed, {found['skipped']} skipped")
    return 1 if found["failed"] or not found["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
