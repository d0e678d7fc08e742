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

# Two runs beside each other: one waits for processes most of the time, the other needs a core, and only one.
apart=(tests.integration tests.chaos)
others=()
for path in tests/*/__init__.py tests/test_*.py; do
    name=${path%/__init__.py}
    name=${name%.py}
    name=${name//\//.}
    # Properties are pytest's.
    case " ${apart[*]} tests.property " in *" $name "*) ;; *) others+=("$name") ;; esac
done
in_random_order() { coverage run -m twisted.trial --random=0 --temp-directory="$scratch/$1" "${@:2}" 2>&1; }
# With job control the run beside gets a process group of its own, and can be ended whole.
set -m
{
    coverage run -m pytest -q tests/property >"$scratch/property.txt" 2>&1 || true
    in_random_order units "${others[@]}" >"$scratch/units.txt" || true
} &
beside=$!
set +m
trap 'kill -- "-$beside" 2>/dev/null; rm -rf "$scratch"' EXIT

echo "== trial, in random order: with processes"
in_random_order processes "${apart[@]}" | tee "$scratch/processes.txt" || true

echo "== trial, in random order: the others"
wait "$beside"
trap 'rm -rf "$scratch"' EXIT
cat "$scratch/units.txt"

echo "== property tests"
cat "$scratch/property.txt"

# Their summaries are read back so that the last line can say how many tests ran in all.
outputs=("$scratch"/{property,processes,units}.txt)
python tests/support/summary.py "${outputs[@]}" >"$scratch/summary.txt" || { cat "$scratch/summary.txt"; exit 1; }

echo "== coverage"
coverage combine --quiet
coverage report --fail-under=90
coverage report --include='micronode/oap/wire/*' --fail-under=100 >/dev/null ||
    die "Branch coverage of micronode/oap/wire is below 100 %: coverage report --include='micronode/oap/wire/*'"

cat "$scratch/summary.txt"
