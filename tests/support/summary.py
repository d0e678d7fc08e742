"""Add up what trial and pytest said of themselves: the last line of a whole run."""

import re
import sys
from pathlib import Path

_PYTEST = re.compile(r"(\d+) (passed|failed|errors?|skipped)")
_TRIAL = re.compile(r"(successes|failures|errors|skips)=(\d+)")
_MEANING = {
    "successes": "passed",
    "failures": "failed",
    "errors": "failed",
    "error": "failed",
    "skips": "skipped",
}


def count(trial: str, pytest: str) -> dict[str, int]:
    """Return how many tests passed, failed and were skipped, by the two runners' closing lines."""
    total = {"passed": 0, "failed": 0, "skipped": 0}
    closing = [line for line in trial.splitlines() if line.startswith(("PASSED", "FAILED"))][-1]
    for word, number in _TRIAL.findall(closing):
        total[_MEANING[word]] += int(number)
    closing = [line for line in pytest.splitlines() if " in " in line and _PYTEST.search(line)][-1]
    for number, word in _PYTEST.findall(closing):
        total[_MEANING.get(word, word)] += int(number)
    return total


if __name__ == "__main__":
    found = count(*(Path(name).read_text("utf-8") for name in sys.argv[1:3]))
    print(f"{found['passed']} passed, {found['failed']} failed, {found['skipped']} skipped")
    sys.exit(1 if found["failed"] or not found["passed"] else 0)
