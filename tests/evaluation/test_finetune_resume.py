"""A fine-tuning that was killed goes on with the same bits, and keeps what it had measured."""

import json
import os
import runpy
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fedvssl.cli import run_tool
from fedvssl.config import from_dict
from fedvssl.errors import CheckpointError, ConfigError
from fedvssl.evaluation.finetune import finetune
from fedvssl.federated.run import federate
from fedvssl.training.hooks import Hook
from tests.conftest import tiny_finetuning_values, tiny_values

TOOL = Path(__file__).parents[2] / 'tools/finetune.py'

ADAMW = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.003))


class Record(Hook):
    """Remembers what a run told, and may end it as a crash would, right after an epoch was committed."""

    def __init__(self, crash_after=0):
        self.crash_after, self.info, self.losses = crash_after, {}, []

    def before_run(self, info):
        self.info = info

    def after_round(self, number, metrics):
        self.losses.append(metrics['loss'])
        if number == self.crash_after:
            raise RuntimeError('planned crash')


def values(root, **training):
    """Returns a config with dropout, an optimiser with state, four epochs, and a test after the second and fourth."""
    found = tiny_finetuning_values(root, **dict(epochs=4, evaluate_every=2, optim_wrapper=ADAMW) | training)
    found['model']['head']['dropout_ratio'] = 0.5
    return found


def figures(result):
    """Returns a result without what differs between two runs of the same thing."""
    plain = json.loads(json.dumps(result))
    return {key: value for key, value in plain.items() if key not in ('seconds', 'environment')}


@pytest.fixture(scope='module')
def pretrained(tiny_videos, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('pretrained')
    federate(from_dict(tiny_values(tiny_videos, rounds=1, clients_per_round=1)), work_dir, hook=Hook())
    return str(work_dir)


@pytest.fixture(scope='module')
def reference(tiny_videos, pretrained, tmp_path_factory):
    """An uninterrupted run: result, losses, work directory."""
    work_dir, record = tmp_path_factory.mktemp('reference'), Record()
    return finetune(from_dict(values(tiny_videos)), work_dir, pretrained, record), record.losses, work_dir


@pytest.mark.parametrize('epoch', [1, 2, 3, 4])
def test_a_resumed_run_equals_an_uninterrupted_one(reference, tiny_videos, pretrained, tmp_path, epoch):
    config, record = from_dict(values(tiny_videos)), Record()
    with pytest.raises(RuntimeError, match='planned crash'):
        finetune(config, tmp_path, pretrained, Record(crash_after=epoch))
    assert not (tmp_path / 'result.json').exists()
    resumed = finetune(config, tmp_path, pretrained, record, resume=True)
    assert figures(resumed) == figures(reference[0])
    assert record.info['first_round'] == epoch + 1 and record.losses == reference[1][epoch:]
    assert [point['epoch'] for point in resumed['curve']] == [2, 4]
    assert resumed['read_by'] == dict(pyav=4 * 16 + 2 * 8)


@pytest.mark.parametrize('crash_at', ['round/after-rename:2', 'opened:result.json'])
def test_a_killed_tool_goes_on_to_the_same_result(reference, tiny_videos, pretrained, tmp_path, monkeypatch, crash_at):
    """Between two epochs, and between the last one and the result; the second process is this one."""
    file, work_dir = tmp_path / 'run.py', tmp_path / 'run'
    file.write_text(''.join(f'{key} = {value!r}\n' for key, value in values(tiny_videos).items()))
    arguments = [str(TOOL), str(file), '--pretrained', pretrained, '--work-dir', str(work_dir)]
    killed = subprocess.run([sys.executable, *arguments], env=dict(os.environ, FEDVSSL_CRASH_AT=crash_at),
                            capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (work_dir / 'result.json').exists()
    monkeypatch.setattr(sys, 'argv', [*arguments, '--resume'])
    assert run_tool(runpy.run_path(str(TOOL))['main']) == 0
    assert figures(json.loads((work_dir / 'result.json').read_text())) == figures(reference[0])
    events = [json.loads(line) for line in (work_dir / 'log.jsonl').read_text().splitlines()]
    assert [event['round'] for event in events if event['event'] == 'round'][-1] == 4


def test_what_was_not_readable_is_remembered(tiny_videos, tmp_path, losing, monkeypatch):
    """Of a video that is lost before the crash, and readable after it."""
    video = f'train/{min((tiny_videos / "train").iterdir()).name}'
    config = from_dict(values(tiny_videos))
    config = replace(config, data=replace(config.data, max_bad_videos=0.2))
    losing(video)
    with pytest.raises(RuntimeError, match='planned crash'):
        finetune(config, tmp_path, None, Record(crash_after=2))
    monkeypatch.undo()
    result = finetune(config, tmp_path, None, Record(), resume=True)
    assert list(result['bad_videos']) == [video] and result['reproducible'] is False


def test_a_finished_run_is_left_as_it_is(reference, tiny_videos, pretrained):
    result, _, work_dir = reference
    before, record = (work_dir / 'result.json').read_bytes(), Record()
    again = finetune(from_dict(values(tiny_videos)), work_dir, pretrained, record, resume=True)
    assert figures(again) == figures(result) and record.info == {} and (work_dir / 'result.json').read_bytes() == before


def test_a_directory_that_holds_a_run_is_refused_without_resume(tiny_videos, tmp_path):
    config = from_dict(values(tiny_videos))
    with pytest.raises(RuntimeError, match='planned crash'):
        finetune(config, tmp_path, None, Record(crash_after=1))
    with pytest.raises(ConfigError, match='already holds a run; continue it with --resume'):
        finetune(config, tmp_path, None, Record())
    with pytest.raises(ConfigError, match='another config:\n  training.epochs: 4 -> 5'):
        finetune(from_dict(values(tiny_videos, epochs=5)), tmp_path, None, Record(), resume=True)
    with pytest.raises(ConfigError, match='--resume: .* holds no run'):
        finetune(config, tmp_path / 'other', None, Record(), resume=True)


def test_another_backbone_is_another_run(reference, tiny_videos, pretrained, tmp_path):
    config = from_dict(values(tiny_videos))
    with pytest.raises(ConfigError, match='another config:\n  pretrained_sha256: "[0-9a-f]{64}" -> null'):
        finetune(config, reference[2], None, Record(), resume=True)
    with pytest.raises(RuntimeError, match='planned crash'):
        finetune(config, tmp_path / 'run', pretrained, Record(crash_after=1))
    (tmp_path / 'moved').symlink_to(pretrained)  # where it lies does not matter
    resumed = finetune(config, tmp_path / 'run', str(tmp_path / 'moved'), Record(), resume=True)
    assert resumed['measured'] == reference[0]['measured'] and len(reference[0]['pretrained_sha256']) == 64


def test_a_damaged_result_is_named(tiny_videos, tmp_path):
    config = from_dict(values(tiny_videos, epochs=1))
    finetune(config, tmp_path, None, Record())
    (tmp_path / 'result.json').write_text('{')
    with pytest.raises(CheckpointError, match='result.json: cannot be read .* remove it and resume'):
        finetune(config, tmp_path, None, Record(), resume=True)
    (tmp_path / 'result.json').unlink()
    assert finetune(config, tmp_path, None, Record(), resume=True)['n'] == 8
