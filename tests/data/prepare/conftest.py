"""Fixtures of the tests of the prepare scripts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedvssl.errors import DataListError

SCRIPTS = Path(__file__).parents[3] / 'scripts'


@pytest.fixture
def official() -> Path:
    """Where the official lists are."""
    if 'FEDVSSL_DATA' not in os.environ:
        pytest.skip('FEDVSSL_DATA is not set')
    return Path(os.environ['FEDVSSL_DATA'])


@pytest.fixture
def refused():
    """Calls something that must be refused; returns the message."""

    def _refused(call, *places, error=DataListError):
        with pytest.raises(error) as caught:
            call()
        message = str(caught.value)
        for place in places:
            assert re.search(rf'(^|[\n/]){re.escape(place)}: ', message), message
        return message

    return _refused


@pytest.fixture
def script():
    """Runs a script; returns exit code, standard output and standard error."""

    def _run(name, *arguments, **environment):
        run = subprocess.run([sys.executable, str(SCRIPTS / name), *map(str, arguments)], capture_output=True,
                             text=True, env={**os.environ, **environment}, timeout=120)
        assert 'Traceback' not in run.stderr, run.stderr
        return run.returncode, run.stdout, run.stderr

    return _run


@pytest.fixture
def fake_unrar(tmp_path, monkeypatch):
    """The only program on PATH that knows .rar: a script that takes the arguments of unrar and reads stored files."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    program = folder / 'unrar'
    program.write_text(f"""#!{sys.executable}
import pathlib, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from stored_rar import unrar_stored
command, archive = sys.argv[1], next(argument for argument in sys.argv[2:] if argument.endswith('.rar'))
try:
    files = unrar_stored(pathlib.Path(archive).read_bytes())
except Exception:
    sys.exit('cannot read it')
if command == 'lb':
    print('\\n'.join(files))
for name, data in files.items() if command == 'x' else ():
    file = pathlib.Path(sys.argv[-1], name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.symlink_to(data.decode()) if name.startswith('link') else file.write_bytes(data)
""")
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(folder))
    return program
