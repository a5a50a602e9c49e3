# Sourced by demo.sh and test.sh: makes .venv in the checkout if it is not there, and installs the package into it.
#
# The versions in scripts/constraints.txt are known to work together. PyPI's torch brings several GB of CUDA libraries;
# FEDVSSL_PIP_ARGS hands pip further arguments, such as the index of PyTorch's CPU builds:
#     FEDVSSL_PIP_ARGS="--extra-index-url URL" bash scripts/demo.sh
# FEDVSSL_PYTHON names the interpreter (default: python3; 3.11 or newer).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

install() { # install EXTRAS
    local stamp=.venv/.installed-$1
    if [ ! -x .venv/bin/python ]; then
        "${FEDVSSL_PYTHON:-python3}" -m venv .venv
    fi
    if [ ! -f "$stamp" ] || [ setup.py -nt "$stamp" ] || [ scripts/constraints.txt -nt "$stamp" ]; then
        echo "installing into .venv (once)"
        # torch first and by its exact version, so that no other package's range picks another build
        # shellcheck disable=SC2086
        .venv/bin/python -m pip install --quiet --disable-pip-version-check ${FEDVSSL_PIP_ARGS:-} \
            "$(grep '^torch==' scripts/constraints.txt)"
        # shellcheck disable=SC2086
        .venv/bin/python -m pip install --quiet --disable-pip-version-check ${FEDVSSL_PIP_ARGS:-} \
            --constraint scripts/constraints.txt --editable ".$1"
        touch "$stamp"
    fi
}
