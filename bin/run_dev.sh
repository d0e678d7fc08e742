#!/usr/bin/env bash
# Start reference owners and a node on real data, and print what to try. Ctrl-C stops everything.
# Takes the options of `micronode dev` (bin/run_dev.sh --help).
set -euo pipefail
cd "$(dirname "$0")/.."
. bin/venv.sh
prepare_venv ""
exec .venv/bin/micronode dev "$@"
