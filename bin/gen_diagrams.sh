#!/usr/bin/env bash
# Draw the state tables of OAP/1 and of the drain into docs/diagrams, or into the folder that is named. Needs graphviz.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
case "${1:-}" in -h | --help)
    echo "Usage: bin/gen_diagrams.sh [FOLDER]"
    echo "Draw the state tables of OAP/1 and of the drain into FOLDER (default: docs/diagrams). Needs graphviz."
    exit
    ;;
-*) die "unknown option $1: the usage is bin/gen_diagrams.sh [FOLDER]" ;;
esac
command -v dot >/dev/null || die "graphviz is not installed (Debian: apt install graphviz)."
prepare_venv "[test]"
trap - INT
folder=$(realpath -m "${1:-$root/docs/diagrams}")
cd "$root"
exec "$venv/bin/python" -m tests.support.make_diagrams "$folder"
