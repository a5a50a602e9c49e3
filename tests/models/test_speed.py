"""Speed: the initial loss and the size of the head."""

import math

import pytest
import torch

from fedvssl.models import build_model


def speed(width=8, seed=7):
    return build_model(dict(type='Speed', backbone=dict(type='R3D18', base_channels=width),
                            head=dict(type='mmaction.I3DHead', num_classes=7, dropout_ratio=0.5, init_std=0.001),
                            data_preprocessor=dict(type='ClipPreprocessor')), seed)


def test_initial_loss_is_ln_7():
    losses = []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randint(256, (14, 1, 8, 32, 32, 3), generator=generator, dtype=torch.uint8)
        model = speed(seed=seed)
        data = model.data_preprocessor(dict(inputs=inputs, data_samples=dict(target=torch.arange(14) % 7)))
        with torch.no_grad():
            losses.append(float(model(**data, mode='loss')['loss']))
    assert sum(losses) / len(losses) == pytest.approx(math.log(7), abs=0.02)
    assert math.log(7) == pytest.approx(1.946, abs=5e-4)


def test_the_head_is_the_published_one():
    head = speed(width=64).head
    assert sum(p.numel() for p in head.parameters()) == 3_591
    assert head.fc_cls.weight.shape == (7, 512) and head.fc_cls.bias.eq(0).all()
    assert head.fc_cls.weight.std().item() == pytest.approx(0.001, rel=0.1)
