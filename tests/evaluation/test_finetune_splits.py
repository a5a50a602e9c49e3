"""Several splits of one list, and the mean over them."""

import csv
import importlib
import json
import os
import runpy
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fedvssl.cli import run_tool
from fedvssl.config import from_dict, load_config
from fedvssl.errors import ConfigError, DataListError
from fedvssl.evaluation.finetune import finetune
from fedvssl.evaluation.labels import label_subset, train_and_test_videos
from fedvssl.evaluation.splits import finetune_splits, split_columns
from fedvssl.training.hooks import Hook
from tests.conftest import tiny_finetuning_values

ROOT = Path(__file__).parents[2]


class CrashIn(Hook):
    """Ends a run as a crash would, after its first epoch."""

    def after_round(self, number, metrics):
        raise RuntimeError('planned crash')


def no_hook(directory):
    return Hook()


@pytest.fixture
def values(tiny_videos, tmp_path):
    """Config values on a list with three splits: the tiny set's own, another one, and one with unused rows."""
    with (tiny_videos / 'annotations.csv').open() as stream:
        rows = list(csv.DictReader(stream))
    table = [('path', 'label', 'split1', 'split2', 'split3')]
    for index, row in enumerate(rows):
        first = row['split']
        second = 'test' if first == 'train' and index % 2 else 'train'
        third = 'unused' if first == 'train' and index < 8 else first
        table.append((row['path'], row['label'], first, second, third))
    (tmp_path / 'splits.csv').write_text(''.join(','.join(row) + '\n' for row in table))
    found = tiny_finetuning_values(tiny_videos)
    found['data'] |= dict(annotations=str(tmp_path / 'splits.csv'), split_column='split1')
    return found


def test_each_split_is_a_run_and_the_mean_is_theirs(values, tmp_path):
    config = from_dict(values)
    result = finetune_splits(config, [1, 2, 3], tmp_path / 'run', None, no_hook)
    assert json.loads((tmp_path / 'run/result.json').read_text()) == json.loads(json.dumps(result))
    each = {name: json.loads((tmp_path / f'run/{name}/result.json').read_text()) for name in result['splits']}
    assert {name: (run['train_videos'], run['n']) for name, run in each.items()} == {
        'split1': (16, 8), 'split2': (16, 8), 'split3': (8, 8)}
    assert each['split2']['protocol']['split'] == dict(column='split2', train='train', test='test')
    for name in ('top1', 'top5', 'mean_class'):
        assert result['measured'][name] == pytest.approx(sum(run['measured'][name] for run in each.values()) / 3)
        assert {split: of['measured'][name] for split, of in result['splits'].items()} == {
            split: run['measured'][name] for split, run in each.items()}
    top1 = [run['measured']['top1'] for run in each.values()]
    mean = sum(top1) / 3
    assert result['deviations']['top1'] == pytest.approx((sum((x - mean) ** 2 for x in top1) / 2) ** 0.5)
    assert result['n'] == 24 and result['intervals'] == {} and result['task'] == 'finetune'
    assert [split['column'] for split in result['protocol']['split']] == ['split1', 'split2', 'split3']
    assert result['protocol']['name'] == 'finetune-splits' and each['split1']['protocol']['name'] == 'finetune'
    alone = finetune(config, tmp_path / 'alone', None, Hook())
    assert alone['measured'] == each['split1']['measured'] and alone['config_hash'] == each['split1']['config_hash']


def test_what_was_begun_is_continued_and_what_was_not_is_begun(values, tmp_path):
    config = from_dict(values)
    whole = finetune_splits(config, [3, 1], tmp_path / 'whole', None, no_hook)
    assert list(whole['splits']) == ['split3', 'split1']
    crashing = {'split3': Hook(), 'split1': CrashIn()}
    with pytest.raises(ConfigError, match='--resume: .*run holds no runs of split3, split1'):
        finetune_splits(config, [3, 1], tmp_path / 'run', None, no_hook, resume=True)
    with pytest.raises(RuntimeError, match='planned crash'):
        finetune_splits(config, [3, 1], tmp_path / 'run', None, lambda directory: crashing[directory.name])
    with pytest.raises(ConfigError, match='split3: already holds a run; continue with --resume'):
        finetune_splits(config, [3, 1], tmp_path / 'run', None, no_hook)
    resumed = finetune_splits(config, [3, 1, 2], tmp_path / 'run', None, no_hook, resume=True)
    assert {name: resumed['splits'][name]['measured'] for name in whole['splits']} == {
        name: whole['splits'][name]['measured'] for name in whole['splits']}
    assert resumed['splits'].keys() == {'split1', 'split2', 'split3'}
    with pytest.raises(ConfigError, match='already holds a result.json'):
        finetune_splits(config, [2], tmp_path / 'run', None, no_hook)


def test_a_list_without_such_a_split_is_refused_before_any_training(values, tmp_path):
    with pytest.raises(DataListError, match="no column 'split4' to take split 'train' from; did you mean 'split"):
        finetune_splits(from_dict(values), [1, 4], tmp_path / 'run', None, no_hook)
    values['data']['split_column'] = 'path'
    with pytest.raises(ConfigError, match="--splits: data.split_column is 'path', of which there is but one"):
        finetune_splits(from_dict(values), [1], tmp_path / 'run', None, no_hook)
    assert not (tmp_path / 'run').exists()


def test_a_split_without_test_videos_is_named(values, tmp_path):
    file = Path(values['data']['annotations'])
    file.write_text(file.read_text().replace('test\n', 'unused\n'))
    with pytest.raises(DataListError, match=r"no rows with 'test' in column 'split3'; there are: 'train' \(8\), 'un"):
        finetune_splits(from_dict(values), [1, 3], tmp_path / 'run', None, no_hook)
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('leaf', ['r3d18_ucf101', 'r3d18_hmdb51', 'r2plus1d18_ucf101', 'r2plus1d18_hmdb51'])
def test_the_columns_of_the_shipped_configs(leaf):
    config = load_config(ROOT / f'configs/downstream/finetune_{leaf}.py')
    assert split_columns(config, [1, 2, 3]) == dict(split1='split1', split2='split2', split3='split3')


@pytest.mark.skipif('FEDVSSL_DATA' not in os.environ, reason='FEDVSSL_DATA is not set')
@pytest.mark.parametrize(('dataset', 'lists', 'sizes'), [
    ('ucf101', '', [(9537, 3783), (9586, 3734), (9624, 3696)]),
    ('hmdb51', 'testTrainMulti_7030_splits', [(3570, 1530)] * 3)])
def test_the_official_lists(dataset, lists, sizes, tmp_path):
    """Sizes as published; of HMDB-51's 70 training videos a class, a tenth is 7."""
    catalogue = importlib.import_module(f'fedvssl.data.prepare.{dataset}').read(
        Path(os.environ['FEDVSSL_DATA']) / dataset / lists)
    with (tmp_path / 'annotations.csv').open('w', newline='') as stream:
        writer = csv.writer(stream)
        writer.writerow(['path', 'label', *catalogue.columns])
        writer.writerows([f'{video.official}.avi', video.label, *video.values] for video in catalogue.videos)
    found = []
    for column in ('split1', 'split2', 'split3'):
        config = load_config(ROOT / f'configs/downstream/finetune_r3d18_{dataset}.py', {
            'data.root': str(tmp_path), 'data.split_column': column})
        train, test = train_and_test_videos(config)
        found.append((len(train), len(test)))
        per_class = Counter(video.label for video in label_subset(train, 0.1, config.seed))
        assert len(per_class) == config.model['head']['num_classes']
        if dataset == 'hmdb51':
            assert set(per_class.values()) == {7}
        else:
            assert abs(per_class.total() - 0.1 * len(train)) < 0.5 * 101
    assert found == sizes


def test_a_number_within_the_name_stays(values):
    config = from_dict(values)
    config = replace(config, data=replace(config.data, split_column='fold10of20'))
    with pytest.raises(ConfigError, match='--splits: 2 is there twice'):
        split_columns(config, [2, 1, 2])
    assert split_columns(config, [3]) == dict(split3='fold10of3')


def test_the_tool_makes_them(values, tmp_path, monkeypatch, capsys):
    file = tmp_path / 'run.py'
    file.write_text(''.join(f'{key} = {value!r}\n' for key, value in values.items()))
    monkeypatch.setattr(sys, 'argv', ['finetune.py', str(file), '--pretrained', 'none', '--splits', '2', '3',
                                      '--work-dir', str(tmp_path / 'run'), '--cfg-options', 'training.epochs=1'])
    assert run_tool(runpy.run_path(str(ROOT / 'tools/finetune.py'))['main']) == 0
    assert 'mean of 2 splits' in capsys.readouterr().out.splitlines()[-1]
    assert all((tmp_path / f'run/{name}/log.jsonl').exists() for name in ('split2', 'split3'))
    assert json.loads((tmp_path / 'run/result.json').read_text())['protocol']['epochs'] == 1
