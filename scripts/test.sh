#!/usr/bin/env bash
# Sets everything up and runs the tests. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/_install.sh"
install "[dev,plots,ray]"
# Two processes; the tests of a file share one, and what it has set up.
exec .venv/bin/python -m pytest --numprocesses 2 --dist loadfile "$@"
