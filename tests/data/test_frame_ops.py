"""Frames as arrays and as tensors: the same geometry."""

import numpy as np
import pytest
import torch

from fedvssl.data import transforms
from fedvssl.data.frame_ops import concatenated, mapped, mirrored, resized, stacked
from fedvssl.data.transforms import CenterCrop, FastResizeCrop, Flip, HueSaturation, RandomCrop, RandomResize
from fedvssl.errors import ConfigError

SMOOTH = np.clip(np.add.outer(np.arange(30) * 3, np.arange(40) * 4)[None, :, :, None] + np.arange(0, 30, 10).reshape(
    1, 1, 1, 3) + np.arange(4).reshape(4, 1, 1, 1), 0, 255).astype(np.uint8)
FRAMES = np.random.default_rng(0).integers(256, size=(4, 30, 40, 3), dtype=np.uint8)


def agree(here, there, tolerance=0):
    assert isinstance(there, torch.Tensor) and there.dtype == torch.uint8
    assert here.shape == tuple(there.shape)
    assert np.abs(here.astype(int) - there.numpy()).max() <= tolerance


@pytest.mark.parametrize('frames', [SMOOTH, FRAMES])
@pytest.mark.parametrize('size', [(20, 15), (17, 11), (80, 60), (40, 30)])
def test_resizing(frames, size):
    agree(resized(frames, size), resized(torch.from_numpy(frames), size), 1)


def test_mirroring_and_tables():
    table = np.random.default_rng(1).permutation(256).astype(np.uint8)
    agree(mirrored(FRAMES), mirrored(torch.from_numpy(FRAMES)))
    agree(mapped(FRAMES, table), mapped(torch.from_numpy(FRAMES), table))


@pytest.mark.parametrize('transform', [
    RandomResize([12, 20, (24, 18)]), RandomCrop(16), CenterCrop(16), Flip(1.0), FastResizeCrop([20, 24], 16),
    transforms.Brightness(1.0, 30), transforms.Contrast(1.0, 0.2)])
def test_transforms_draw_and_do_the_same(transform):
    for seed in range(5):
        here = transform(FRAMES, np.random.default_rng(seed))
        there = transform(torch.from_numpy(FRAMES), np.random.default_rng(seed))
        agree(np.asarray(here), there, 1)


def test_hue_is_for_main_memory():
    with pytest.raises(ConfigError, match='BatchHueSaturation'):
        HueSaturation(1.0)(torch.from_numpy(FRAMES), np.random.default_rng(0))


def test_batches_of_either_kind():
    for kind in (np.asarray, torch.from_numpy):
        assert torch.equal(stacked([kind(FRAMES), kind(SMOOTH)]), torch.from_numpy(np.stack([FRAMES, SMOOTH])))
        assert np.array_equal(concatenated([kind(FRAMES), kind(SMOOTH)]), np.concatenate([FRAMES, SMOOTH]))
