#!/usr/bin/env bash
# Show that a node refuses what is over its limits with 413: payloads over 1 MiB, and what inflates to more
# than ten times its size. Without arguments a node is started for it; or name one that runs:
#
#   bin/smoke_oap_limits.sh [oap://HOST:PORT | unix:/path] [http://HOST:PORT]
#
# Exit status: 0 everything was refused as documented, 1 something was not, 64 usage, 69 no node there.
# SMOKE_PYTHON names an interpreter that has micronode installed; else .venv is made and used.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
if [ -n "${SMOKE_PYTHON-}" ]; then
    python=$SMOKE_PYTHON
else
    prepare_venv ""
    python=$venv/bin/python
fi
trap - INT
cd "$root"
exec "$python" -m tests.support.smoke_limits "$@"
