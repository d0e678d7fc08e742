#!/usr/bin/env bash
# Start reference owners and a node on real data, and print what to try. Ctrl-C stops everything.
# Takes the options of `micronode dev` (bin/run_dev.sh --help); paths in them are relative to where you are.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
prepare_venv ""
trap - INT
exec "$venv/bin/micronode" dev "$@"
