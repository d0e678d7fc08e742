#!/usr/bin/env bash
# Run everything that must hold: lints, types, the trial suite in random order, the property tests,
# coverage. Names of trial modules or tests as arguments run those alone: bin/test.sh tests.http
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
prepare_venv "[test]"
trap - INT
cd "$root"
export PATH="$venv/bin:$PATH"

# Everything that a run leaves is in one folder outside the checkout, and goes with it.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export COVERAGE_FILE="$scratch/coverage" PYTHONDONTWRITEBYTECODE=1

if [ $# -gt 0 ]; then
    python -m twisted.trial --random=0 --temp-directory="$scratch/trial" "$@"
    exit
fi

echo "== lint and types"
ruff check --no-cache .
ruff format --no-cache --check .
mypy --cache-dir="$scratch/mypy"

# Beside trial, which waits most of the time: they need a core, and only one.
coverage run -m pytest -q tests/property >"$scratch/pytest.txt" 2>&1 &
property=$!
trap 'kill "$property" 2>/dev/null; rm -rf "$scratch"' EXIT

echo "== trial, in random order"
# trial's summary is read back so that the last line can say how many tests ran in all.
coverage run -m twisted.trial --random=0 --temp-directory="$scratch/trial" tests 2>&1 | tee "$scratch/trial.txt"

echo "== property tests"
failed=0
wait "$property" || failed=$?
trap 'rm -rf "$scratch"' EXIT
cat "$scratch/pytest.txt"
[ "$failed" = 0 ] || exit "$failed"

echo "== coverage"
coverage combine --quiet
coverage report --fail-under=90
coverage report --include='micronode/oap/wire/*' --fail-under=100 >/dev/null ||
    die "Branch coverage of micronode/oap/wire is below 100 %: coverage report --include='micronode/oap/wire/*'"

python tests/support/summary.py "$scratch/trial.txt" "$scratch/pytest.txt"
