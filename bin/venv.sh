# Sourced by the other scripts: make .venv beside this folder and install micronode into it.
#
# prepare_venv EXTRAS   EXTRAS is "" or a bracketed list such as "[test]"
#
# Idempotent: what is installed is remembered by a checksum of what decides it, so a second run costs
# nothing. PYTHON chooses another interpreter than the newest found.

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            printf '%s' "$candidate"
            return
        fi
    done
    die "micronode needs Python 3.11 or newer; ${PYTHON:-python3} is $(${PYTHON:-python3} -V 2>&1 || echo 'not there')." \
        "Install one (Debian: apt install python3 python3-venv), or name it: PYTHON=/path/to/python3.12 $0"
}

prepare_venv() {
    local extras=$1 python wanted stamp
    [ -n "${VIRTUAL_ENV_DISABLE_PROMPT-}" ] || export VIRTUAL_ENV_DISABLE_PROMPT=1
    # An interrupted creation leaves a .venv without pip behind: it is made again.
    if ! .venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        python=$(find_python) || exit 1
        echo "Making .venv with $("$python" -V)"
        rm -rf .venv
        "$python" -m venv .venv ||
            die "Making .venv failed. On Debian and Ubuntu the module is a package of its own: apt install python3-venv"
    fi
    wanted=$(cat setup.py pyproject.toml | cksum | tr -d ' \n')
    stamp=.venv/installed-$(printf '%s' "$extras" | tr -dc 'a-z')
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || [ ! -x .venv/bin/micronode ]; then
        echo "Installing micronode$extras into .venv"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$extras" ||
            die "" "The installation failed; pip's message above says why." \
                "If it could not reach a package index: check the network, or point pip at a mirror with PIP_INDEX_URL."
        printf '%s' "$wanted" >"$stamp"
    fi
}
