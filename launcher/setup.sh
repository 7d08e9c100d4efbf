#!/bin/sh
# Makes the Python environment in .venv and installs everything Damso needs on this machine.
# May be run again: it installs what has changed.
#
# PYTHON  which Python to take; default: the first one on PATH that fits
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "setup         $*"; }
fail() { say "$*" >&2; exit 1; }

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }

find_python() {
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if fits "$name"; then command -v "$name"; return; fi
    done
    fail "needs Python 3.11, 3.12 or 3.13; set PYTHON to one"
}

# Debian has venv and pip in packages of their own, and a bare machine may have only one of them.
make_environment() {
    python=$(find_python)
    say "making .venv with $("$python" --version)"
    if command -v uv >/dev/null; then
        uv venv --quiet --allow-existing --python "$python" .venv
    elif ! "$python" -m venv .venv 2>/dev/null; then
        "$python" -m venv --without-pip .venv ||
            fail "this Python cannot make environments: install python3-venv, or uv"
    fi
}

# Prints how to call uv.
find_uv() {
    if command -v uv >/dev/null; then echo uv; return; fi
    if [ ! -x .venv/bin/uv ]; then
        if .venv/bin/python -c 'import pip' 2>/dev/null; then
            .venv/bin/python -m pip install --quiet uv
        else
            "$(find_python)" -m pip --python .venv/bin/python install --quiet uv
        fi >&2 || fail "could not install uv: install python3-venv (or python3-pip), or uv"
    fi
    echo .venv/bin/uv
}

# A directory with a torch wheel in it, where the machine has one: it reaches no other index then.
torch_directory() {
    for place in ${UV_FIND_LINKS:-} ${PIP_FIND_LINKS:-}; do
        for wheel in "$place"/torch-*.whl; do
            if [ -e "$wheel" ]; then echo "$place"; return; fi
        done
    done
}

# uv reads none of pip's variables: pass on what says how to reach an index.
if [ -n "${PIP_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"; fi
if [ -n "${PIP_CERT:-}" ]; then export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"; fi

fits .venv/bin/python || make_environment
uv=$(find_uv)
extras=tokenizer,gateway,frontend,launcher,test,lint,proto
local_wheels=$(torch_directory)

say "installing packages (3 GB; seconds from a warm cache, minutes from the network)"
if command -v nvidia-smi >/dev/null; then
    # constraints.txt pins what fits the CPU build of vLLM.
    "$uv" pip install --quiet --python .venv/bin/python --torch-backend=auto \
        -e ".[generation-cuda,$extras]"
elif [ -n "$local_wheels" ]; then
    UV_FIND_LINKS=$local_wheels "$uv" pip install --quiet --python .venv/bin/python \
        -c constraints.txt -e ".[generation-cpu,$extras]"
else
    "$uv" pip install --quiet --python .venv/bin/python --torch-backend=cpu \
        -c constraints.txt -e ".[generation-cpu,$extras]"
fi
