"""Rot3D: exact turns, targets, and the initial loss."""

import math

import numpy as np
import pytest
import torch

from fedvssl.data.draws import Draws
from fedvssl.errors import ConfigError
from fedvssl.models import Rotate90, build_model

AUGMENTS = [dict(type='Rotate90')]


def rot3d(width=8, seed=7, augments=AUGMENTS):
    return build_model(dict(type='Rot3D', backbone=dict(type='R3D18', base_channels=width),
                            head=dict(type='mmaction.I3DHead', num_classes=4, dropout_ratio=0.5, init_std=0.001),
                            data_preprocessor=dict(type='ClipPreprocessor', augments=augments)), seed)


def batch(size, clips=1, frames=4, side=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(256, (size, clips, frames, side, side, 3), generator=generator, dtype=torch.uint8)
    seeds = torch.randint(2 ** 62, (size,), generator=generator)
    return dict(inputs=inputs, data_samples=dict(target=torch.full((size,), 99), seed=seeds))


def turned(data):
    samples = dict(data['data_samples'])
    clips = Rotate90()(data['inputs'], samples, Draws(data['data_samples']['seed'].tolist()))
    return clips, samples['target']


def test_a_quarter_turn_is_counter_clockwise_and_exact():
    """The pixel at the top right goes to the top left."""
    data = batch(64, clips=2, frames=3, side=5)
    before = data['inputs'].clone()
    clips, target = turned(data)
    corners = before[:, :, :, [0, 0, 4, 4], [0, 4, 4, 0]]  # clockwise from the top left
    for sample, k in enumerate(target.tolist()):
        found = clips[sample, :, :, [0, 0, 4, 4], [0, 4, 4, 0]]
        assert found.equal(corners[sample].roll(-k, dims=2))
        expected = np.rot90(before[sample].numpy(), k, axes=(2, 3))  # numpy: first axis towards second
        np.testing.assert_array_equal(clips[sample].numpy(), expected)
    assert set(target.tolist()) == {0, 1, 2, 3} and target.dtype == torch.int64
    assert clips.dtype == torch.uint8 and data['inputs'].equal(before)


def test_targets_are_uniform_and_the_seed_of_a_sample_decides_its_own():
    data = batch(4000, frames=1, side=1)
    _, target = turned(data)
    assert torch.bincount(target).min() > 900
    part = {key: value[1000:1010] for key, value in data['data_samples'].items()}
    assert turned(dict(inputs=data['inputs'][1000:1010], data_samples=part))[1].equal(target[1000:1010])


def test_the_target_replaces_the_label_in_what_the_model_sees():
    data = batch(8)
    prepared = rot3d().data_preprocessor(data)
    assert prepared['inputs'].shape == (8, 1, 3, 4, 16, 16)
    assert prepared['data_samples']['target'].max() < 4 and data['data_samples']['target'].eq(99).all()


def test_initial_loss_is_ln_4():
    losses = []
    for seed in range(4):
        model = rot3d(seed=seed)
        with torch.no_grad():
            losses.append(float(model(**model.data_preprocessor(batch(16, seed=seed)), mode='loss')['loss']))
    assert sum(losses) / len(losses) == pytest.approx(math.log(4), abs=0.02)


def test_the_head_is_the_published_one():
    head = rot3d(width=64).head
    assert sum(p.numel() for p in head.parameters()) == 2_052
    assert head.dropout.p == 0.5 and head.fc_cls.weight.std().item() == pytest.approx(0.001, rel=0.1)


def test_frames_that_are_not_square_are_refused():
    data = batch(2)
    data['inputs'] = data['inputs'][:, :, :, :12]
    with pytest.raises(ConfigError, match='frames must be square, not 16x12'):
        rot3d().data_preprocessor(data)


def test_without_the_augmentation_labels_would_be_learnt():
    with pytest.raises(ConfigError, match='Rotate90'):
        rot3d(augments=[])
