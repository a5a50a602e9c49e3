#!/usr/bin/env bash
# Sets everything up and runs the tests. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/_install.sh"
install "[dev,plots,ray]"
exec .venv/bin/python -m pytest "$@"
