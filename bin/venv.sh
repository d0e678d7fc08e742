# Sourced by the other scripts: make .venv in the checkout and install micronode into it.
#
# prepare_venv EXTRAS   EXTRAS is "" or a bracketed list such as "[test]"; sets $venv
#
# Idempotent: what is installed is remembered by a checksum of what decides it, so a second run costs
# nothing. PYTHON names the interpreter that .venv is made with.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

trap 'die "" "Interrupted; run it again, it goes on where it was."' INT

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local candidate
    if [ -n "${PYTHON-}" ]; then
        is_new_enough "$PYTHON" && printf '%s' "$PYTHON" && return
        die "micronode needs Python 3.11 or newer, and PYTHON=$PYTHON is not: $("$PYTHON" -V 2>/dev/null || echo "it does not run")."
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        is_new_enough "$candidate" && printf '%s' "$candidate" && return
    done
    die "micronode needs Python 3.11 or newer; python3 here is $(python3 -V 2>/dev/null || echo "not there")." \
        "Install one (Debian: apt install python3 python3-venv), or name it: PYTHON=/path/to/python3.12 $0"
}

prepare_venv() {
    local extras=$1 python wanted stamp
    stamp=$venv/installed-$(printf '%s' "$extras" | tr -dc 'a-z')
    # The checkout's own path is part of it: the scripts of a .venv that was moved point nowhere.
    wanted=$(printf '%s\n' "$root" | cat - "$root/setup.py" "$root/pyproject.toml" | cksum | tr -d ' \n')
    # An interrupted creation leaves a .venv without pip, a moved checkout one that points elsewhere.
    if ! "$venv/bin/python" -c 'import pip' >/dev/null 2>&1 || ! is_new_enough "$venv/bin/python" ||
        ! "$venv/bin/pip" --version >/dev/null 2>&1; then
        python=$(find_python) || exit 1
        echo "Making .venv with $("$python" -V)"
        rm -rf "$venv"
        "$python" -m venv "$venv" ||
            die "Making .venv failed. On Debian and Ubuntu the module is a package of its own: apt install python3-venv"
    elif [ -n "${PYTHON-}" ]; then
        echo "Using .venv as it is, with $("$venv/bin/python" -V); remove it to have it made with PYTHON=$PYTHON."
    fi
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || [ ! -x "$venv/bin/micronode" ]; then
        echo "Installing micronode$extras into .venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$root$extras" ||
            die "" "The installation failed; pip's message above says why." \
                "If it could not reach a package index: check the network, or point pip at a mirror with PIP_INDEX_URL."
        printf '%s' "$wanted" >"$stamp"
    fi
}
