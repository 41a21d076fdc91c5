#!/bin/sh
# Install Talweg with pinned versions into a virtual environment, which is created if missing.
#     sh deploy/install.sh VENV EXTRA
set -eu

venv=$1
extra=$2
python=$venv/bin/python

if [ ! -x "$python" ]; then
    for candidate in ${TALWEG_PYTHON:-} python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
            >/dev/null 2>&1; then
            found=$candidate
            break
        fi
    done
    if [ -z "${found:-}" ]; then
        echo 'Talweg needs Python 3.11 or newer with the venv module, but none was found on PATH.' >&2
        echo 'Install one, or set it: make run TALWEG_PYTHON=/path/to/python3.11' >&2
        exit 1
    fi
    echo "Creating $venv with $("$found" --version)"
    "$found" -m venv "$venv"
fi

log=$venv/install.log
: >"$log"
pip() {
    if ! "$python" deploy/pip_progress.py "$log" "$@"; then
        tail -n 25 "$log" >&2
        echo "The installation failed; the full output is in $log" >&2
        exit 1
    fi
}

echo "Installing talweg[$extra] into $venv; the first time takes some minutes (log: $log)"
export PIP_DISABLE_PIP_VERSION_CHECK=1
# Whatever is fetched must have a hash of constraints.txt, and nothing is built of what is fetched.
checked='--require-hashes --only-binary :all:'
echo 'Step 1 of 3: the installer'
"$python" deploy/requirements.py --pin pip >"$venv/installer.txt"
pip install $checked --requirement "$venv/installer.txt"
echo "Step 2 of 3: what talweg[$extra] needs, and talweg"
"$python" deploy/requirements.py "$extra" >"$venv/requirements.txt"
# Byte code is compiled afterwards, on all cores.
pip install $checked --no-compile --constraint constraints.txt \
    --requirement "$venv/requirements.txt" editables
pip install --no-deps --no-index --no-build-isolation --no-compile --editable .
echo 'Step 3 of 3: compile byte code'
# Some packages contain files for other versions of Python, which need not compile.
"$python" -m compileall -qq -j 0 -x '/tests?/|/testing/' "$venv"/lib/python3*/site-packages \
    >/dev/null 2>&1 || true
