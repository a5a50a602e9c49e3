"""The published fine-tuning and test, number by number, and where mmaction2's defaults differ from it.

Specification, §6.1. Golden values by hand: N frames, clips of 16 at stride 2 (span 32), τ = (N - 31) / 10.
"""

import inspect
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedvssl.config import config_hash, differences, identity, load_config
from fedvssl.data.sampling import MidTickSampler, RandomClipSampler
from fedvssl.evaluation.protocol import FINETUNE, is_published, training_protocol
from fedvssl.models import Recognizer, build_model
from fedvssl.registry import MODELS, SAMPLERS, build
from fedvssl.training.schedules import StepSchedule

ROOT = Path(__file__).parents[2]
LEAVES = [(backbone, dataset) for backbone in ('r3d18', 'r2plus1d18') for dataset in ('ucf101', 'hmdb51')]
NO_DRAWS = np.random.default_rng(0)
I3DHead, ResNet3d = MODELS.get('mmaction.I3DHead'), MODELS.get('mmaction.ResNet3d')


def leaf(backbone='r3d18', dataset='ucf101', **overrides):
    return load_config(ROOT / f'configs/downstream/finetune_{backbone}_{dataset}.py',
                       {key.replace('__', '.'): value for key, value in overrides.items()}).centralised()


def ours(frames):
    """Returns the frames (10, 16) that the shipped config takes of a test video."""
    return build(SAMPLERS, leaf().data.test.sampler, 'sampler')(frames, NO_DRAWS).indices


def theirs(frames, **settings):
    from mmaction.datasets.transforms import SampleFrames  # which needs what `fedvssl.models` does for mmaction2

    sampler = SampleFrames(clip_len=16, frame_interval=2, num_clips=10, test_mode=True, **settings)
    found = sampler.transform(dict(total_frames=frames, start_index=0))
    return found['frame_inds'].reshape(10, 16)


@pytest.mark.parametrize(('frames', 'starts'), [
    (101, [3, 10, 17, 24, 31, 38, 45, 52, 59, 66]),  # τ = 7: 3.5 + 7 x
    (41, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),  # τ = 1: 0.5 + x
    (36, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),  # τ = 0.5: 0.25, 0.75, 1.25 ...
    (32, [0] * 10),  # τ = 0.1: 0.05 to 0.95; the only clip that fits
    (31, [0] * 10), (1, [0] * 10),
])
def test_clips_start_in_the_middle_of_equal_ticks(frames, starts):
    assert ours(frames)[:, 0].tolist() == starts
    np.testing.assert_array_equal(ours(frames), np.minimum(np.array(starts)[:, None] + 2 * np.arange(16), frames - 1))


def test_mmaction_spreads_its_clips_from_the_first_to_the_last_frame():
    """N = 101: its offsets are x · (101 - 31) / 9, rounded."""
    assert theirs(101)[:, 0].tolist() == [0, 8, 16, 23, 31, 39, 47, 54, 62, 70]
    assert theirs(101)[-1, -1] == 100 and ours(101)[-1, -1] == 96


def test_mmaction_begins_anew_where_a_video_is_short_and_ours_stays_on_the_last_frame():
    clip = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert ours(20)[0].tolist() == [*clip, 19, 19, 19, 19, 19, 19]
    assert theirs(20)[0].tolist() == [*clip, 0, 2, 4, 6, 8, 10]
    assert theirs(20, out_of_bound_opt='repeat_last')[0].tolist() == [*clip, 18, 18, 18, 18, 18, 18]  # of the clip
    clips = RandomClipSampler(clip_length=16, stride=2)(20, NO_DRAWS).indices
    assert clips[0].tolist() == ours(20)[0].tolist()  # so is training's


def test_the_sampler_is_no_setting_of_mmactions():
    for frames in (40, 101, 250):
        for settings in (dict(), dict(out_of_bound_opt='repeat_last'), dict(target_fps=None, keep_tail_frames=True)):
            assert not np.array_equal(theirs(frames, **settings), ours(frames))
    assert MidTickSampler().num_clips == 10


class Planted(torch.nn.Module):
    """A head that gives planned logits, one row a clip."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, features):
        return self.logits


# One clip that is sure of class 0, and two that lean towards class 1: the mean logit is highest for class 0, the mean
# probability for class 1.
LOGITS = torch.tensor([[9.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 4.0, 0.0]])


def test_logits_are_averaged_not_probabilities():
    config = leaf(model__backbone__base_channels=4, model__head__num_classes=3)
    model = build_model(config.model, 7).eval()
    assert isinstance(model, Recognizer)
    model.head = Planted(LOGITS)
    scores = model(torch.zeros(1, 3, 3, 4, 16, 16), mode='predict')
    torch.testing.assert_close(scores, torch.tensor([[3.0, 8 / 3, 0.0]]))
    assert int(scores.argmax()) == 0
    softmax = I3DHead(3, 4, average_clips='prob').average_clip(LOGITS, num_segs=3)
    assert int(softmax.argmax()) == 1
    torch.testing.assert_close(I3DHead(3, 4, average_clips='score').average_clip(LOGITS, num_segs=3), scores)
    # exp(9) = 8103.084, exp(4) = 54.598: (8103.084 / 8105.084 + 2 / 56.598) / 3 and so on
    torch.testing.assert_close(softmax, torch.tensor([[0.345030, 0.643191, 0.011860]]), atol=1e-4, rtol=0)


def test_clips_of_a_video_stay_together():
    """Videos come first in the batch, their clips second: (B, M)."""
    config = leaf(model__backbone__base_channels=4, model__head__num_classes=3)
    model = build_model(config.model, 7).eval()
    model.head = Planted(torch.arange(12.0).view(4, 3))  # video 0: rows 0, 1; video 1: rows 2, 3
    scores = model(torch.zeros(2, 2, 3, 4, 16, 16), mode='predict')
    assert scores.tolist() == [[1.5, 2.5, 3.5], [7.5, 8.5, 9.5]]


def defaults(function):
    return {name: p.default for name, p in inspect.signature(function).parameters.items()}


def test_the_head_is_the_published_one_not_mmactions_default():
    assert defaults(I3DHead)['init_std'] == 0.01 and defaults(I3DHead)['dropout_ratio'] == 0.5
    head = build_model(leaf().model, 7).head
    assert (head.init_std, head.dropout_ratio, head.fc_cls.weight.shape) == (0.001, 0.5, (101, 512))
    assert head.fc_cls.weight.std().item() == pytest.approx(0.001, rel=0.02)  # of 51,712 draws: ± 0.3 %
    assert not head.fc_cls.bias.any()


def test_the_backbone_starts_with_all_its_blocks():
    assert defaults(ResNet3d)['zero_init_residual'] is True
    norms = [module for name, module in build_model(leaf().model, 7).backbone.named_modules()
             if name.endswith('conv2.bn')]
    assert len(norms) == 8 and all(norm.weight.eq(1).all() for norm in norms)


@pytest.mark.parametrize(('backbone', 'dataset'), LEAVES)
def test_every_shipped_config_is_the_published_protocol(backbone, dataset):
    config = leaf(backbone, dataset)
    protocol = training_protocol(config, 'finetune')
    assert protocol['name'] == 'fedvssl-finetune' and protocol['classes'] == {'ucf101': 101, 'hmdb51': 51}[dataset]
    assert protocol['split'] == dict(column='split1', train='train', test='test')
    assert build_model(config.model, 7).head.fc_cls.out_features == protocol['classes']
    assert training_protocol(leaf(backbone, dataset, data__split_column='split3'), 'finetune')['name'] == (
        'fedvssl-finetune')


@pytest.mark.parametrize('changed', [dict(base_channels=8), dict(spatial_strides=(1, 2, 2, 1)), dict(norm_eps=1e-5)])
def test_another_network_or_a_test_on_what_was_trained_on_is_not_the_published_protocol(changed):
    config = leaf()
    backbone = dict(config.model['backbone'], **changed)
    other = training_protocol(replace(config, model=dict(config.model, backbone=backbone)), 'finetune')
    assert other['name'] == 'finetune' and other['backbone'] == json.loads(json.dumps(backbone))
    same = replace(config, data=replace(config.data, train=replace(config.data.train, split='test')))
    assert training_protocol(same, 'finetune')['name'] == 'finetune'


def test_the_learning_rate_falls_at_epochs_60_and_120():
    schedule = StepSchedule(**{key: value for key, value in FINETUNE['schedule'].items() if key != 'type'})
    rates = [0.01 * schedule(epoch / 150) for epoch in (0, 59.99, 60, 119.99, 120, 149.99)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4])


@pytest.mark.parametrize(('key', 'value'), [
    ('training.epochs', 149), ('training.label_fraction', 0.1), ('training.batch_size', 24),
    ('optim_wrapper.optimizer.lr', 0.02), ('optim_wrapper.clip_grad.max_norm', 10), ('schedule.gamma', 0.5),
    ('model.head.dropout_ratio', 0.0), ('model.head.init_std', 0.01), ('data.test.sampler.num_clips', 5),
    ('data.train.sampler.stride', 4), ('data.test.transforms.0.size', (128, 128)),
    ('model.data_preprocessor.std', (1.0, 1.0, 1.0)), ('training.evaluate_every', 1),
])
def test_any_other_number_is_another_protocol(key, value):
    """And the protocol says so; the backbone, the data and how they are read are not part of it."""
    plain, other = training_protocol(leaf(), 'finetune'), training_protocol(leaf(**{key: value}), 'finetune')
    assert other['name'] == 'finetune' and not is_published(other, 'finetune')
    changed = differences(plain, other)
    assert len(changed) == 2 and any(line.startswith('name: ') for line in changed)


def test_what_does_not_belong_to_it():
    same = leaf(data__root='elsewhere', data__workers=9, data__test_batch_size=3, seed=8, runtime__device='cuda')
    assert training_protocol(same, 'finetune') == training_protocol(leaf(), 'finetune')
    assert config_hash(same) != config_hash(leaf())


def test_the_other_backbone_is_all_that_differs():
    for dataset in ('ucf101', 'hmdb51'):
        r3d, r2plus1d = (identity(leaf(backbone, dataset)) for backbone in ('r3d18', 'r2plus1d18'))
        assert differences(r3d, r2plus1d) == ['model.backbone.type: "R3D18" -> "R2Plus1D18"']
