"""Fine-tuning on the tiny set: what the result says, that it repeats, and what is refused before any training."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from fedvssl.config import config_hash, from_dict
from fedvssl.data.dataset import list_digests
from fedvssl.errors import BadVideosError, CheckpointError, ConfigError, DataListError
from fedvssl.evaluation import supervised as module
from fedvssl.evaluation.finetune import FineTuning, finetune
from fedvssl.federated.run import federate
from fedvssl.training.hooks import Hook
from fedvssl.weights import read_weights
from tests.conftest import tiny_finetuning_values, tiny_values


class Record(Hook):
    """Remembers what a run told."""

    def __init__(self):
        self.info, self.rounds, self.end = None, [], None

    def before_run(self, info):
        self.info = info

    def after_round(self, number, metrics):
        self.rounds.append(metrics)

    def after_run(self, metrics):
        self.end = metrics


def classifier(root, num_classes=8, **training):
    return from_dict(tiny_finetuning_values(root, num_classes, **training))


@pytest.fixture(scope='module')
def pretrained(tiny_videos, tmp_path_factory):
    """Work directory of a federated run whose checkpoint has a backbone and a head."""
    work_dir = tmp_path_factory.mktemp('pretrained')
    values = tiny_values(tiny_videos, rounds=1, clients_per_round=1, strategy=dict(type='FedAvg'))
    federate(from_dict(values), work_dir, hook=Hook())
    return work_dir


@pytest.fixture(scope='module')
def scratch(tiny_videos, tmp_path_factory):
    """A run from scratch: config, work directory, what was returned, and what was told."""
    work_dir, config, record = tmp_path_factory.mktemp('scratch'), classifier(tiny_videos), Record()
    return config, work_dir, finetune(config, work_dir, None, record), record


def test_the_result_file_says_it_all(scratch):
    config, work_dir, result, record = scratch
    assert json.loads((work_dir / 'result.json').read_text()) == json.loads(json.dumps(result))
    last = result['last']
    assert last['n'] == len(last['correct']) == 8 and last['top1'] == sum(last['correct']) / 8
    assert last['top1'] <= last['top5'] <= 1 and last['mean_class'] == last['top1']  # one test video a class
    assert result['train_videos'] == 16 and result['pretrained'] is None and result['bad_videos'] == {}
    assert (result['task'], result['n'], result['seed']) == ('finetune', 8, 7)
    assert result['measured'] == {name: last[name] for name in ('top1', 'top5', 'mean_class')}
    assert result['intervals']['top1'] == last['top1_interval'] and result['intervals'].keys() == {'top1', 'top5'}
    assert sorted(last['target']) == list(range(8)) and len(last['predicted']) == 8
    assert last['correct'] == [int(a == b) for a, b in zip(last['predicted'], last['target'], strict=True)]
    assert result['config_hash'] == config_hash(config) and result['config']['training']['epochs'] == 2
    assert result['lists'] == list_digests(config.data) != {}
    assert result['environment']['packages']['torch'] == torch.__version__
    assert record.info['weights'] == 'random' and record.end['top1'] == last['top1']
    assert [metrics['test_accuracy'] for metrics in record.rounds][-1] == last['top1']


class Noise(Record):
    """Draws from torch's global generator, as anything might."""

    def before_run(self, info):
        super().before_run(info)
        torch.rand(3)


def test_the_same_config_gives_the_same_result(scratch, tmp_path):
    config, _, result, record = scratch
    again = Noise()
    repeated = finetune(config, tmp_path, None, again)
    assert {**repeated, 'seconds': 0} == {**result, 'seconds': 0}
    assert again.rounds == record.rounds  # losses to the last bit
    other = Record()
    finetune(replace(config, seed=8), tmp_path / 'other', None, other)
    assert other.rounds[0]['loss'] != record.rounds[0]['loss']


def test_a_federated_backbone_is_what_is_trained(tiny_videos, pretrained, scratch, tmp_path):
    config, record = scratch[0], Record()
    job = FineTuning(config)
    head = job.trainer.model.head.fc_cls.weight.clone()
    job.load(str(pretrained))
    state, tensors = job.trainer.model.state_dict(), read_weights(pretrained)
    assert all(state[name].equal(tensors[name]) for name in state if name.startswith('backbone.'))
    assert state['head.fc_cls.weight'].equal(head)

    result = finetune(config, tmp_path, str(pretrained), record)
    assert result['pretrained'] == str(pretrained) and result['last']['n'] == 8
    assert record.info['weights'].startswith('matched 120, missing 0, unexpected 4')
    assert record.rounds[0]['loss'] != scratch[3].rounds[0]['loss']


def test_best_and_last_are_both_reported(tiny_videos, tmp_path, monkeypatch):
    planned = iter([0.25, 0.5, 0.5, 0.375])
    original = module.accuracy_report
    monkeypatch.setattr(module, 'accuracy_report', lambda *a: {**original(*a), 'top1': next(planned)})
    record = Record()
    result = finetune(classifier(tiny_videos, epochs=7, evaluate_every=2), tmp_path, None, record)
    assert [number for number, metrics in enumerate(record.rounds, 1) if 'test_accuracy' in metrics] == [2, 4, 6, 7]
    assert (result['best']['epoch'], result['best']['top1'], result['last']['top1']) == (4, 0.5, 0.375)
    assert [(point['epoch'], point['top1']) for point in result['curve']] == [(2, 0.25), (4, 0.5), (6, 0.5), (7, 0.375)]
    assert result['measured']['top1'] == 0.375  # the last: the best was chosen by the test videos


def refused(error, message, config, work_dir, pretrained=None):
    """Checks that a run ends with an error before anything is told or written."""
    record = Record()
    with pytest.raises(error, match=message):
        finetune(config, work_dir, pretrained, record)
    assert record.info is None and not (work_dir / 'log.jsonl').exists()


def test_a_label_the_head_has_no_output_for(tiny_videos, tmp_path):
    refused(DataListError, r'annotations.csv:6: label 4 is out of range; model.head.num_classes = 4 takes 0 to 3',
            classifier(tiny_videos, num_classes=4), tmp_path)


def test_a_head_without_classes(tiny_videos, tmp_path):
    config = classifier(tiny_videos)
    refused(ConfigError, r'model.head.num_classes: is required and missing',
            replace(config, model=config.model | dict(head=dict(type='mmaction.I3DHead'))), tmp_path)


def test_a_pretext_task_is_not_fine_tuned(tiny_videos, tmp_path):
    """Its config has a section ``training`` too, and its accuracy would pass for the recogniser's."""
    config = classifier(tiny_videos)
    config = replace(config, model=config.model | dict(type='Speed'))
    refused(ConfigError, 'model.type: Speed is a pretext task', config, tmp_path)


def test_an_existing_result_is_never_overwritten(tiny_videos, tmp_path):
    (tmp_path / 'result.json').write_text('{}')
    refused(ConfigError, 'already holds a result.json', classifier(tiny_videos), tmp_path)
    assert (tmp_path / 'result.json').read_text() == '{}'


def test_no_test_data(tiny_videos, tmp_path):
    config = classifier(tiny_videos)
    config = replace(config, data=replace(config.data, test=None))
    refused(ConfigError, 'data.test: fine-tuning needs it', config, tmp_path)


@pytest.mark.parametrize(('name', 'shape', 'message'), [
    ('encoder.weight', (2,), "none of its 1 tensors belongs to this backbone, e.g. it has 'encoder.weight'"),
    ('backbone.conv1.conv.weight', (8, 3, 3, 7, 7), r'another model: backbone.conv1.conv.weight has shape \(8, 3, 3'),
])
def test_a_checkpoint_that_does_not_fit(tiny_videos, tmp_path, name, shape, message):
    save_file({name: torch.zeros(shape)}, tmp_path / 'x.safetensors')
    refused(CheckpointError, message, classifier(tiny_videos), tmp_path / 'run', str(tmp_path / 'x.safetensors'))


@pytest.mark.parametrize('split', [None, 'train', 'test'])
def test_a_result_that_lost_a_video_to_a_deadline_says_so(split, tiny_videos, tmp_path, losing):
    video = split and f'{split}/{min((tiny_videos / split).iterdir()).name}'
    if video:
        losing(video)
    config = classifier(tiny_videos, epochs=1)
    config = replace(config, data=replace(config.data, max_bad_videos=0.2))
    result = finetune(config, tmp_path / 'run', None, Hook())
    assert result['reproducible'] == (video is None)
    assert result['read_by'] == {'pyav': {None: 24, 'train': 24, 'test': 23}[split]}
    assert list(result['bad_videos']) == ([video] if video else [])


@pytest.mark.parametrize('broken', ['1', '*'])
def test_unreadable_test_videos_are_named_not_counted(tiny_videos, tmp_path, broken):
    root = tmp_path / 'videos'
    shutil.copytree(tiny_videos, root)
    spoiled = sorted((root / 'test').iterdir())[:1 if broken == '1' else None]
    for file in spoiled:
        file.write_bytes(b'not a video')
    config, record = classifier(root, epochs=1), Record()
    if broken == '1':
        config = replace(config, data=replace(config.data, max_bad_videos=0.2))
        result = finetune(config, tmp_path / 'run', None, record)
        assert result['last']['n'] == 7 and list(result['bad_videos']) == [f'test/{spoiled[0].name}']
    else:
        with pytest.raises(BadVideosError, match='8 of 8 videos are unreadable'):
            finetune(config, tmp_path / 'run', None, record)
        assert 'BadVideosError' in record.end['error'] and not (tmp_path / 'run/result.json').exists()
