"""tools/doctor.py as a user meets it: exit codes, files, the hint that a config understands, Ctrl-C."""

import csv
import os
import runpy
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedvssl.cli import run_tool
from fedvssl.data.annotations import read_quarantine
from fedvssl.findings import Finding, Severity
from tests.conftest import tiny_values

TOOL = Path(__file__).parent.parent / 'tools/doctor.py'


def start(*arguments, cwd):
    return subprocess.Popen([sys.executable, str(TOOL), *map(str, arguments)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, cwd=cwd)


def run(*arguments, cwd):
    """Returns exit code, standard output and standard error."""
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=120)
    assert 'Traceback' not in err, err
    return process.returncode, out, err


@pytest.fixture
def damaged(tiny_videos, tmp_path):
    """Root of the tiny set, with a train video lost and another one that is a copy of a test video."""
    root = tmp_path / 'videos'
    shutil.copytree(tiny_videos, root)
    (root / 'train/00003.avi').unlink()
    shutil.copy(root / 'test/00016.mp4', root / 'train/00004.mp4')
    return root


def test_a_config_is_examined_and_its_quarantine_used(damaged, tmp_path):
    config = tmp_path / 'run.py'
    config.write_text(''.join(f'{key} = {value!r}\n' for key, value in tiny_values(damaged).items()))
    code, out, err = run('data', config, cwd=tmp_path)
    assert (code, err) == (1, '')
    assert 'error: train/00003.avi: missing: no such file; check the data root' in out
    assert 'error: train/00004.mp4: train-test-duplicate: the same bytes (split train, client' in out
    directory, = (tmp_path / 'work_dirs/doctor').glob('run-*')
    findings = f'{directory.relative_to(tmp_path)}/findings.csv'
    assert f'2 errors, 0 warnings\n24 videos, 2 to leave out; all findings: {findings}' in out
    assert {path.name for path in directory.iterdir()} == {'findings.csv', 'quarantine.csv', 'cache.sqlite3'}
    assert read_quarantine(directory / 'quarantine.csv') == {'train/00003.avi', 'train/00004.mp4'}
    with (directory / 'findings.csv').open() as stream:
        assert [row['kind'] for row in csv.DictReader(stream)] == ['missing', 'train-test-duplicate']

    hint = out.splitlines()[-1].split()
    assert hint[-2:] == ['--cfg-options', f'data.quarantine={directory}/quarantine.csv']
    code, out, _ = run('data', config, *hint[-2:], cwd=tmp_path)
    assert code == 0 and out == f'0 errors, 0 warnings\n22 videos, 0 to leave out; all findings: {findings}\n'
    assert read_quarantine(directory / 'quarantine.csv') == {'train/00003.avi', 'train/00004.mp4'}  # still


def test_a_list_with_warnings_only(tiny_videos, tmp_path):
    for number in range(23):
        shutil.copy(tiny_videos / 'train/00000.mp4', tmp_path / f'{number:02d}.mp4')
    (tmp_path / 'clips.csv').write_text('path\n' + ''.join(f'{number:02d}.mp4\n' for number in range(23)))
    code, out, err = run('data', 'clips.csv', '--out', 'here', '--quick', cwd=tmp_path)
    assert (code, err) == (0, '')
    assert out.count('warning: ') == 20 and '... and 2 more warnings of this kind (duplicate)\n' in out
    assert '0 errors, 22 warnings\n23 videos, 0 to leave out' in out and 'quarantine=' not in out
    assert (tmp_path / 'here/quarantine.csv').read_text() == 'path,reason\n'
    assert len((tmp_path / 'here/findings.csv').read_text().splitlines()) == 23


@pytest.mark.parametrize(('arguments', 'code', 'message'), [
    (['none.csv'], 3, 'none.csv: no such file'),
    (['none.py'], 2, 'none.py: no such config file'),
    (['clips.csv', '--cfg-options', 'a=1'], 2, '--cfg-options: is for a config, and clips.csv is a list'),
    (['run.py', '--root', '.'], 2, '--root: is for a list; a config says it itself'),
    (['clips.csv', '--workers', '0'], 2, '--workers: must be positive and finite, not 0'),
    (['clips.csv', '--timeout', 'nan'], 2, '--timeout: must be positive and finite, not nan'),
    (['clips.csv', '--timeout', 'inf'], 2, '--timeout: must be positive and finite, not inf'),
    (['clips.csv', '--client-column', 'site'], 3, "clips.csv: no column 'site'"),
    (['clips.csv', '--out', 'clips.csv'], 6, 'clips.csv: cannot be made'),
])
def test_wrong_input_is_one_line(arguments, code, message, tmp_path):
    (tmp_path / 'clips.csv').write_text('path\na.mp4\n')
    (tmp_path / 'run.py').touch()
    returned, out, err = run('data', *arguments, cwd=tmp_path)
    assert (returned, out) == (code, '') and err.startswith(f'error: {message}') and err.count('\n') == 1


def test_an_installation_with_an_error(monkeypatch, capsys):
    import fedvssl.installation

    monkeypatch.setattr(fedvssl.installation, 'describe_installation', lambda: ['Python 3'])
    monkeypatch.setattr(fedvssl.installation, 'check_installation', lambda: [
        Finding(Severity.ERROR, 'missing', 'av', 'not installed', 'pip install av')])
    monkeypatch.setattr(sys, 'argv', ['doctor.py', 'env'])
    with pytest.raises(SystemExit) as stopped:
        run_tool(runpy.run_path(str(TOOL))['main'])
    assert stopped.value.code == 1
    out = capsys.readouterr().out
    assert out.startswith('Python 3\nerror: av: missing: not installed; pip install av\n')
    assert out.endswith('1 errors, 0 warnings\n')


def test_ctrl_c_keeps_what_was_found_out(tiny_videos, tmp_path):
    for number in range(5000):
        os.link(tiny_videos / 'train/00000.mp4', tmp_path / f'{number}.mp4')
    (tmp_path / 'clips.csv').write_text('path\n' + ''.join(f'{number}.mp4\n' for number in range(5000)))
    process = start('data', 'clips.csv', '--workers', '1', '--out', '.', cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not known(tmp_path / 'cache.sqlite3') and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == 'error: stopped; the next examination goes on from here\n'
    assert 0 < known(tmp_path / 'cache.sqlite3') < 5000


def known(file):
    """Returns how many facts a cache holds."""
    if not file.exists():
        return 0
    with sqlite3.connect(file) as connection:
        try:
            return connection.execute('SELECT count(*) FROM facts').fetchone()[0]
        except sqlite3.OperationalError:  # not there yet, or being written
            return 0
