#!/usr/bin/env bash
# Overload a node, let its owners fail, reload it all the while, and drain it under load; print what callers and
# operators saw. Exit status: 0, or 1 where a bound broke, which is named. Over within a minute, or:
#
#   bin/chaos_degrade_shed.sh --minutes 30     the same again and again, and what the node's memory does
#
# CHAOS_PYTHON names an interpreter that has micronode[test] installed; else .venv is made and used.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
if [ -n "${CHAOS_PYTHON-}" ]; then
    python=$CHAOS_PYTHON
else
    prepare_venv "[test]"
    python=$venv/bin/python
fi
trap - INT
cd "$root"
exec "$python" -m tests.chaos.run "$@"
