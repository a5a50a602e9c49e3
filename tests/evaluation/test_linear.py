"""The linear probe on the tiny set, in both protocols: what the results say, and what is refused before any work."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fedvssl.config import differences, from_dict, identity, load_config
from fedvssl.errors import ConfigError, DataListError, Interrupted
from fedvssl.evaluation.features import extract
from fedvssl.evaluation.linear import cached_protocol, linear_probe
from fedvssl.evaluation.linear_classifier import choose_rate, train_linear
from fedvssl.evaluation.protocol import training_protocol
from fedvssl.models import build_model
from fedvssl.sections import CachedLinearConfig, EvaluationConfig
from fedvssl.training.hooks import Hook
from tests.conftest import tiny_finetuning_values

CONFIGS = Path(__file__).parent.parent.parent / 'configs/downstream'
QUICK = CachedLinearConfig(epochs=5)


def probe_config(root, num_classes=8, linear=QUICK, model='LinearProbe', **training):
    """Returns a config for both protocols."""
    values = tiny_finetuning_values(root, num_classes, **training)
    if model == 'LinearProbe':
        values['model'] = dict(values['model'], type=model, head=dict(type='LinearProbeHead', num_classes=num_classes))
    return replace(from_dict(values), evaluation=EvaluationConfig(linear=linear))


@pytest.fixture(scope='module')
def checkpoint(tiny_videos, tmp_path_factory):
    """File of a backbone that is not the initial one."""
    model = build_model(probe_config(tiny_videos).model, 99)
    file = tmp_path_factory.mktemp('weights') / 'backbone.safetensors'
    save_file({name: tensor for name, tensor in model.state_dict().items() if name.startswith('backbone.')}, file)
    return str(file)


@pytest.fixture(scope='module')
def features(tmp_path_factory):
    """Where extracted features are kept."""
    return tmp_path_factory.mktemp('features')


def cached(config, work_dir, checkpoint, features):
    return linear_probe(config, work_dir, checkpoint, 'cached', Hook(), features)


def test_cached_says_it_all(tiny_videos, checkpoint, features, tmp_path):
    config = probe_config(tiny_videos)
    result = cached(config, tmp_path, checkpoint, features)
    assert json.loads((tmp_path / 'result.json').read_text()) == json.loads(json.dumps(result))
    assert (result['task'], result['n'], result['train_videos'], result['pretrained']) == ('linear', 8, 16, checkpoint)
    assert set(result['measured']) == {'top1', 'top5', 'mean_class'} and set(result['intervals']) == {'top1', 'top5'}
    assert result['measured']['top1'] == sum(result['correct']) / 8
    assert result['correct'] == [int(a == b) for a, b in zip(result['predicted'], result['target'], strict=True)]
    protocol = result['protocol']
    assert (protocol['name'], protocol['epochs'], protocol['batch_size']) == ('cached-modified', 5, 256)
    assert protocol['learning_rates'] == [trial['learning_rate'] for trial in result['learning_rates']]
    assert protocol['clips']['sampler']['num_clips'] == 2 and protocol['classes'] == 8
    best = min(result['learning_rates'], key=lambda trial: (-trial['top1'], trial['cross_entropy']))
    assert result['learning_rate'] == best['learning_rate'] in protocol['learning_rates']
    assert 0 <= result['train_top1'] <= 1 and result['features']['train']['n'] == 16


def test_cached_is_its_parts(tiny_videos, checkpoint, features, tmp_path):
    """Features of the checkpoint's backbone, the choice on the training videos, the test on the test videos."""
    config = probe_config(tiny_videos)
    train, test = (extract(config, split, checkpoint, directory=features) for split in ('train', 'test'))
    rate, _ = choose_rate(train.vectors, train.labels, 8, QUICK, 7)
    logits = train_linear(train.vectors, train.labels, 8, rate, QUICK, 7, 'all')(test.vectors)
    result = cached(config, tmp_path, checkpoint, features)
    assert result['predicted'] == logits.argmax(dim=1).tolist() and result['target'] == test.labels.tolist()
    assert train.vectors.shape == (16, 32) and result['learning_rate'] == rate


def test_cached_repeats_itself_from_the_disk(tiny_videos, tmp_path):
    config = probe_config(tiny_videos)
    first, again = (cached(config, tmp_path / name, 'random', tmp_path / 'features') for name in 'ab')
    assert [result['features']['train']['from_disk'] for result in (first, again)] == [False, True]
    changing = {'seconds', 'extraction_seconds', 'features'}
    assert {key: first[key] for key in first.keys() - changing} == {key: again[key] for key in again.keys() - changing}
    assert first['pretrained'] is None and first['weights'] == 'random'


def test_cached_serves_any_model_that_learns_labels(tiny_videos, checkpoint, features, tmp_path):
    as_probe = cached(probe_config(tiny_videos), tmp_path / 'a', checkpoint, features)
    as_recognizer = cached(probe_config(tiny_videos, model='Recognizer'), tmp_path / 'b', checkpoint, features)
    assert as_probe['predicted'] == as_recognizer['predicted']
    assert as_probe['learning_rates'] == as_recognizer['learning_rates']


def test_cached_trains_on_the_labels_it_may(tiny_videos, checkpoint, features, tmp_path):
    config = probe_config(tiny_videos, linear=replace(QUICK, learning_rates=[1.0]), label_fraction=0.5)
    result = cached(config, tmp_path, checkpoint, features)
    assert result['train_videos'] == 8 and result['protocol']['label_fraction'] == 0.5
    assert result['learning_rates'] == [] and result['learning_rate'] == 1.0 and result['n'] == 8
    with pytest.raises(DataListError, match='8 training videos are of as many classes'):
        cached(probe_config(tiny_videos, label_fraction=0.5), tmp_path / 'b', checkpoint, features)


def test_names_of_the_protocols(tiny_videos):
    default = probe_config(tiny_videos, linear=CachedLinearConfig())
    assert cached_protocol(default, (1, 1, 1))['name'] == 'cached'
    half = replace(default, training=replace(default.training, label_fraction=0.5))
    assert cached_protocol(half, (1, 1, 1))['name'] == 'cached-modified'
    assert training_protocol(default.centralised(), 'linear')['name'] == 'linear'


@pytest.mark.parametrize('name', ['r3d18_ucf101', 'r3d18_hmdb51', 'r2plus1d18_ucf101', 'r2plus1d18_hmdb51'])
def test_leaves_are_the_published_protocol(name):
    """Figures of the specification, §6.2: they are those of the fine-tuning but for what is listed."""
    config, finetuning = (load_config(CONFIGS / f'{task}_{name}.py').centralised() for task in ('linear', 'finetune'))
    protocol = training_protocol(config, 'linear')
    assert protocol['name'] == 'fedvssl-linear' and protocol['classes'] == (101 if 'ucf' in name else 51)
    assert config.optim_wrapper['optimizer'] == dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-3)
    assert [config.schedule['milestones'], config.training.epochs, config.data.batch_size] == [[0.6, 0.8], 100, 32]
    changed = {line.split(':')[0] for line in differences(identity(finetuning), identity(config))}
    assert changed == {'model.type', 'model.head.type', 'model.head.dropout_ratio', 'model.train_norms',
                       'optim_wrapper.optimizer.weight_decay', 'schedule.milestones', 'training.epochs'}
    published = replace(config, model=dict(config.model, train_norms=True))
    assert training_protocol(published, 'linear')['name'] == 'linear'  # and train_norms says why


class Stop(Hook):
    """Interrupts a run after its first epoch."""

    def after_round(self, number, metrics):
        raise Interrupted('stopped')


def test_fedvssl_trains_the_head_alone_and_resumes(tiny_videos, checkpoint, tmp_path):
    config = probe_config(tiny_videos, epochs=3, evaluate_every=3)
    whole = linear_probe(config, tmp_path / 'whole', checkpoint, 'fedvssl', Hook())
    with pytest.raises(Interrupted):
        linear_probe(config, tmp_path / 'parts', checkpoint, 'fedvssl', Stop())
    parts = linear_probe(config, tmp_path / 'parts', checkpoint, 'fedvssl', Hook(), resume=True)
    assert {**whole, 'seconds': 0} == {**parts, 'seconds': 0}
    assert (whole['task'], whole['n'], whole['pretrained']) == ('linear', 8, checkpoint)
    assert whole['protocol']['model']['type'] == 'LinearProbe'
    given = load_file(checkpoint)
    for name in ('whole', 'parts'):
        newest = load_file(next((tmp_path / name / 'rounds').glob('round-000003')) / 'global.safetensors')
        assert all(torch.equal(newest[key], tensor) for key, tensor in given.items())
        assert newest['head.fc.weight'].abs().max() > 0.005


def refused(error, message, config, work_dir, protocol, **options):
    """Checks that a probe is refused before anything is written."""
    with pytest.raises(error, match=message):
        linear_probe(config, work_dir, 'random', protocol, Hook(), **options)
    assert not any(work_dir.iterdir())


def test_another_model_is_not_for_fedvssl(tiny_videos, tmp_path):
    refused(ConfigError, r'model.type: --protocol fedvssl needs a LinearProbe, not Recognizer; take a config such as '
                         r'configs/downstream/linear_r3d18_ucf101.py', probe_config(tiny_videos, model='Recognizer'),
            tmp_path, 'fedvssl')


def test_one_clip_a_batch_is_not_for_fedvssl(tiny_videos, tmp_path):
    refused(ConfigError, 'data.batch_size: must be at least 2', probe_config(tiny_videos, batch_size=1), tmp_path,
            'fedvssl')


@pytest.mark.parametrize('protocol', ['fedvssl', 'cached'])
def test_labels_the_head_has_no_output_for(protocol, tiny_videos, tmp_path):
    refused(DataListError, r'label 4 is out of range; model.head.num_classes = 4 takes 0 to 3',
            probe_config(tiny_videos, num_classes=4), tmp_path, protocol)


def test_pretext_tasks_unknown_protocols_and_nothing_to_resume(tiny_videos, tmp_path):
    config = probe_config(tiny_videos)
    pretext = replace(config, model=dict(config.model, type='Speed'))
    refused(ConfigError, 'model.type: Speed is a pretext task', pretext, tmp_path, 'cached')
    refused(ConfigError, "no 'cache'; did you mean 'cached'", config, tmp_path, 'cache')
    refused(ConfigError, '--resume: protocol cached has nothing to continue', config, tmp_path, 'cached', resume=True)


@pytest.mark.parametrize('protocol', ['fedvssl', 'cached'])
def test_a_result_is_never_overwritten(protocol, tiny_videos, tmp_path):
    (tmp_path / 'result.json').write_text('{}')
    with pytest.raises(ConfigError, match='already holds'):
        linear_probe(probe_config(tiny_videos), tmp_path, 'random', protocol, Hook())
    assert (tmp_path / 'result.json').read_text() == '{}'
