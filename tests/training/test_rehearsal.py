"""What cannot work is said before a run begins, by the tool that is about to start it."""

import pytest
import torch

from fedvssl.config import from_dict
from fedvssl.errors import ConfigError
from fedvssl.federated.run import check_run, federate
from fedvssl.pretraining import check_pretraining
from tests.conftest import tiny_values

SPEED = dict(type='Speed', backbone=dict(type='R3D18', base_channels=4),
             head=dict(type='mmaction.I3DHead', num_classes=7, dropout_ratio=0.0),
             data_preprocessor=dict(type='ClipPreprocessor'))
PATCHES = dict(type='ClipPreprocessor', augments=[dict(type='PastePatches')])
CTP = dict(type='CtP', backbone=dict(type='R3D18', base_channels=4, spatial_strides=(1, 2, 2, 1)),
           head=dict(type='CtPHead', clip_length=4), data_preprocessor=PATCHES)
MOCO = dict(type='MoCo', backbone=dict(type='R3D18', base_channels=4), head=dict(type='MoCoHead', out_channels=8),
            data_preprocessor=dict(type='ClipPreprocessor'), queue_size=8)
ONE_CLIP = dict(type='RandomClipSampler', clip_length=4)


@pytest.fixture
def config(tiny_videos):
    """Builds the config of a model and a sampler."""

    def build(model, sampler, **phase):
        values = tiny_values(tiny_videos)
        for name in ('train', 'test'):
            values['data'][name] |= dict(sampler=sampler, **phase)
        return from_dict(dict(values, model=model, training=dict(epochs=1)))

    return build


WRONG = {
    'labels': (SPEED, ONE_CLIP, 'data.train.sampler: neither RandomClipSampler nor .* make the target'),
    'classes': (dict(SPEED, head=dict(SPEED['head'], num_classes=6)), dict(type='SpeedSampler', clip_length=4),
                'model.head: has 6 outputs, SpeedSampler of data.train makes 7 classes'),
    'frames': (CTP, dict(ONE_CLIP, clip_length=5), 'model.head.clip_length: is 4, clips have 5 frames'),
    'stride': (dict(CTP, backbone=dict(type='R3D18', base_channels=4)), ONE_CLIP,
               r'model.head.spatial_stride: 8 .*spatial_strides=\(1, 2, 2, 1\)'),
    'patches': (dict(CTP, data_preprocessor=dict(type='ClipPreprocessor')), ONE_CLIP, 'must hold .*PastePatches'),
    'pair': (MOCO, dict(ONE_CLIP, num_clips=2), 'data.train.independent_clips: MoCo needs True'),
}


@pytest.mark.parametrize('check', [check_run, check_pretraining])
@pytest.mark.parametrize(('model', 'sampler', 'message'), WRONG.values(), ids=WRONG)
def test_what_does_not_go_together(config, check, model, sampler, message):
    with pytest.raises(ConfigError, match=message):
        check(config(model, sampler))


@pytest.mark.parametrize('check', [check_run, check_pretraining])
def test_what_does(config, check):
    assert check(config(CTP, ONE_CLIP)).startswith('ok')
    assert check(config(MOCO, dict(ONE_CLIP, num_clips=2), independent_clips=True)).startswith('ok')


@pytest.mark.parametrize('check', [check_run, check_pretraining])
def test_classes_mean_the_same_on_held_out_videos(config, check):
    values = tiny_like(config(SPEED, dict(type='SpeedSampler', clip_length=4)), evaluate_every=1)
    values['data']['test']['sampler']['strides'] = [-4, -2, -1, 0, 1, 2, 3]
    with pytest.raises(ConfigError, match=r'data.test.sampler: its classes are \[-4, .* 3\]'):
        check(from_dict(values))


def test_a_federation_refuses_to_learn_labels(config, tmp_path):
    with pytest.raises(ConfigError, match='does not read labels'):
        federate(config(SPEED, ONE_CLIP), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_what_belongs_to_a_client_never_travels(config, tmp_path):
    values = config(MOCO, dict(ONE_CLIP, num_clips=2), independent_clips=True)
    strategy = {'type': 'FedAvg'}
    run = from_dict(tiny_like(values, strategy=strategy, rounds=1))
    state = federate(run, tmp_path / 'run')
    assert {name.split('.')[0] for name in state.tensors} == {'backbone', 'head'}
    with pytest.raises(ConfigError, match="exchange: 'queue' of MoCo stays with its client"):
        federate(from_dict(tiny_like(values, strategy=dict(strategy, exchange=['queue']), rounds=1)), tmp_path / 'b')


def tiny_like(config, **federation):
    """Returns the values of a config with another federation."""
    from fedvssl.config import identity

    values = identity(config)
    values['federation'] = {**values['federation'], 'workers': 0, **federation}
    return values


def test_rehearsing_changes_nothing(config):
    from fedvssl.data.dataset import build_dataset, read_videos, without_labels
    from fedvssl.models import build_model
    from fedvssl.training.rehearsal import rehearse

    values = config(MOCO, dict(ONE_CLIP, num_clips=2), independent_clips=True)
    model = build_model(values.model, 7)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    numbers = torch.get_rng_state()
    videos = without_labels(read_videos(values.data, 'train'))
    rehearse(model, build_dataset(values.data, values.data.train, videos, replace_bad=False), 7, 'data.train')
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert torch.get_rng_state().equal(numbers)
