"""The linter's rules, as pyproject.toml sets them."""

import subprocess
import sys
from pathlib import Path


def test_ruff():
    run = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--quiet', '.'], cwd=Path(__file__).parent.parent,
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
