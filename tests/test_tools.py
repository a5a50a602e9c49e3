"""The tools as a user meets them: exit codes, messages, Ctrl-C and resume."""

import json
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedvssl.cli import run_tool
from tests.conftest import tiny_finetuning_values, tiny_values

TOOLS = Path(__file__).parent.parent / 'tools'


@pytest.fixture
def config(tiny_videos, tmp_path):
    """Config file of a federated run that lasts until it is stopped."""
    return written(tmp_path / 'run.py', tiny_values(tiny_videos, rounds=100_000))


def written(file, values):
    file.write_text(''.join(f'{key} = {value!r}\n' for key, value in values.items()))
    return file


def start(tool, *arguments):
    return subprocess.Popen([sys.executable, str(TOOLS / tool), *map(str, arguments)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def run(tool, *arguments):
    """Returns exit code, standard output and standard error."""
    process = start(tool, *arguments)
    out, err = process.communicate(timeout=120)
    assert 'Traceback' not in err, err
    return process.returncode, out, err


def newest(work_dir):
    """Returns the number of the last finished round, 0 before the first."""
    return max((int(path.name[-6:]) for path in work_dir.glob('rounds/round-*')), default=0)


def stopped_after(number, stop, *arguments, work_dir):
    """Runs fed_train.py until a round is finished, sends it a signal, and returns exit code and standard error."""
    process = start('fed_train.py', *arguments, '--work-dir', work_dir)
    deadline = time.monotonic() + 120
    while newest(work_dir) < number and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(stop)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_check_says_what_would_run_and_writes_nothing(config, tmp_path):
    code, out, _ = run('fed_train.py', config, '--check', '--work-dir', tmp_path / 'run')
    assert code == 0
    assert out.startswith('ok: 16 videos on 4 clients (4 to 4 each), 100000 rounds of 2 clients, 120 tensors (')
    assert list(tmp_path.iterdir()) == [config]


def test_a_missing_annotation_file_is_named(config, tiny_videos, monkeypatch, capsys):
    arguments = [str(config), '--check', '--cfg-options', 'data.annotations=none.csv']
    monkeypatch.setattr(sys, 'argv', ['fed_train.py', *arguments])  # in this process: the imports take seconds
    before = signal.getsignal(signal.SIGINT)  # a shell's background job ignores it
    assert run_tool(runpy.run_path(str(TOOLS / 'fed_train.py'))['main']) == 3
    out, err = capsys.readouterr()
    assert out == '' and err.startswith(f'error: {tiny_videos}/none.csv: no such file')
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(('option', 'message'), [
    ('federation.rouns=3', "error: federation.rouns: unknown key; did you mean 'rounds'?\n"),
    ('federation.rounds=many', "error: federation.rounds: must be of type int, not 'many'\n"),
    ('rounds', "error: --cfg-options: 'rounds' is not of the form key=value\n"),
])
def test_options_are_checked(config, option, message):
    assert run('fed_train.py', config, '--cfg-options', option) == (2, '', message)


def test_a_typo_in_a_config_is_answered_with_the_nearest_name(tiny_videos, tmp_path):
    values = tiny_values(tiny_videos)
    values['data']['max_bad_vidoes'] = 0.5
    code, _, err = run('fed_train.py', written(tmp_path / 'typo.py', values))
    assert (code, err) == (2, "error: data.max_bad_vidoes: unknown key; did you mean 'max_bad_videos'?\n")


def test_a_config_for_the_other_tool(config):
    code, _, err = run('finetune.py', config, '--pretrained', 'none')
    assert code == 2 and err.startswith('error: training: this tool needs the section')


def test_an_interrupted_run_is_resumed_and_its_checkpoint_used(config, tiny_videos, tmp_path):
    work_dir = tmp_path / 'work'
    code, err = stopped_after(1, signal.SIGINT, config, work_dir=work_dir)
    assert code == 130 and 'error: SIGINT: stopped' in err, err
    done = newest(work_dir)
    assert done >= 1

    code, _, err = run('fed_train.py', config, '--work-dir', work_dir)
    assert code == 2 and 'already holds a run; continue it with --resume' in err and newest(work_dir) == done

    code, err = stopped_after(done + 1, signal.SIGTERM, config, '--resume', work_dir=work_dir)
    assert code == 130 and 'error: SIGTERM: stopped' in err, err
    assert newest(work_dir) > done
    events = [json.loads(line) for line in (work_dir / 'log.jsonl').read_text().splitlines()]
    assert [event['first_round'] for event in events if event['event'] == 'run'] == [1, done + 1]
    assert ['SIG' in event['error'] for event in events if event['event'] == 'end'] == [True, True]

    values = tiny_finetuning_values(tiny_videos)
    values['model']['backbone'] = dict(type='R3D18', base_channels=8)
    code, _, err = run('finetune.py', written(tmp_path / 'wider.py', values), '--pretrained', work_dir, '--work-dir',
                       tmp_path / 'tuned')
    assert code == 7 and 'backbone.conv1.conv.weight has shape (4, 3, 3, 7, 7), this model needs (8, 3, 3, 7, 7)' in err
    assert not (tmp_path / 'tuned').exists()
