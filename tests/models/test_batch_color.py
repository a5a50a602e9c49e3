"""Colour changes of a batch: OpenCV's HSV to the bit, its linear approximation, and drifting light."""

import math

import cv2
import numpy as np
import pytest
import torch

from fedvssl.data.draws import Draws
from fedvssl.data.transforms import HueSaturation
from fedvssl.errors import ConfigError
from fedvssl.models.augments.color import (
    BatchHueSaturation,
    DynamicBrightness,
    DynamicContrast,
    hsv_to_rgb,
    hue_matrix,
    rgb_to_hsv,
    rotate_hue,
    shift_hue,
)


def noise(*shape, seed=0):
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def natural(batch=6, seed=0):
    """Clips (B, 1, 2, 48, 64, 3): smooth, with the modest colours of photographs (chroma of some 30 grey levels)."""
    random = np.random.default_rng(seed)
    clips = np.empty((batch, 1, 2, 48, 64, 3), dtype=np.uint8)
    for place in np.ndindex(batch, 2):
        light = cv2.resize(random.uniform(30, 220, (5, 6, 1)), (64, 48), interpolation=cv2.INTER_CUBIC)[..., None]
        tint = cv2.resize(random.normal(0, 22, (5, 6, 3)), (64, 48), interpolation=cv2.INTER_CUBIC)
        clips[place[0], 0, place[1]] = np.clip(light + tint, 0, 255)
    return torch.from_numpy(clips)


class FixedDraws:
    """A generator whose draws are given."""

    def __init__(self, *values):
        self.values = list(values)

    def random(self):
        return 0.0

    def uniform(self, low, high):
        return self.values.pop(0)


def test_rgb_to_hsv_is_opencvs():
    """A fifth of all colours, and all greys."""
    levels = np.arange(256, dtype=np.uint8)
    green, blue = np.meshgrid(levels, levels, indexing='ij')
    for red in range(0, 256, 5):
        rgb = np.stack([np.full_like(green, red), green, blue], axis=-1)
        np.testing.assert_array_equal(rgb_to_hsv(torch.from_numpy(rgb)).numpy(), cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV))
    greys = torch.arange(256, dtype=torch.uint8)[:, None].expand(-1, 3)
    assert rgb_to_hsv(greys)[:, :2].eq(0).all() and rgb_to_hsv(greys)[:, 2].equal(greys[:, 0])


def test_hsv_to_rgb_is_opencvs_up_to_rounding():
    """All hues: less than 0.5 % of the values differ, by 1; OpenCV's own depend on a pixel's place in its row."""
    levels = np.arange(0, 256, 3, dtype=np.uint8)
    hue, saturation, value = np.meshgrid(np.arange(180, dtype=np.uint8), levels, levels, indexing='ij')
    hsv = np.stack([hue, saturation, value], axis=-1).reshape(180, -1, 3)
    found = hsv_to_rgb(torch.from_numpy(hsv)).numpy().astype(int)
    difference = np.abs(found - cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.005


@pytest.mark.parametrize(('shift', 'scale'), [(0, 1), (7.4, 1.06), (-11.6, 0.92), (12, 1.1)])
@pytest.mark.parametrize('size', [(16, 16), (9, 13)])
def test_shift_hue_is_the_cpu_transform(shift, scale, size):
    clip = noise(3, *size, 3)
    expected = HueSaturation(p=1)(clip.numpy(), FixedDraws(shift, math.log(scale)))
    numbers = torch.tensor([shift, scale], dtype=torch.float64)
    np.testing.assert_array_equal(shift_hue(clip, *numbers).numpy(), expected)
    by_channel = clip.movedim(-1, 0).contiguous().movedim(0, -1)  # as pasting leaves clips in memory
    np.testing.assert_array_equal(shift_hue(by_channel, *numbers).numpy(), expected)


def test_hue_is_clipped_and_not_wrapped():
    reds = torch.tensor([200, 50, 50], dtype=torch.uint8).expand(1, 4, 8, 3)  # hue 0
    one = torch.ones((), dtype=torch.float64)
    assert shift_hue(reds, -12 * one, one).equal(shift_hue(reds, 0 * one, one))
    assert not shift_hue(reds, 12 * one, one).equal(reds)


def test_the_way_of_other_devices_gives_the_same_up_to_rounding(monkeypatch):
    """What runs where OpenCV cannot, tried here by clips that deny to be on the CPU."""
    clip = noise(1, 2, 24, 32, 3)
    numbers = torch.tensor([[-9.7, 0.93], [0.2, 1.0], [11.9, 1.08]]).double()
    by_opencv = torch.stack([shift_hue(clip, *pair) for pair in numbers])

    class Elsewhere(torch.Tensor):
        class device:  # noqa: N801 - stands for a torch.device
            type = 'elsewhere'

    arange = torch.arange
    monkeypatch.setattr(torch, 'arange', lambda *args, device=None, **options: arange(*args, **options))
    monkeypatch.setattr('fedvssl.models.augments.color.shift_hue_cv2', None)
    elsewhere = torch.stack([shift_hue(clip.as_subclass(Elsewhere), *pair).as_subclass(torch.Tensor)
                             for pair in numbers])
    difference = (elsewhere.int() - by_opencv.int()).abs()
    assert difference.max() <= 1 and difference.double().mean() < 0.01


def test_hue_matrix_by_hand():
    one = torch.tensor(1.0).double()
    right, left, none = (hue_matrix(shift * one, one) for shift in (60, -60, 0))
    colour = torch.tensor([10.0, 20.0, 30.0]).double()
    assert (right @ colour).tolist() == pytest.approx([30, 10, 20])  # red becomes green: a third of the circle
    assert (left @ colour).tolist() == pytest.approx([20, 30, 10])
    assert none.allclose(torch.eye(3).double())
    grey = hue_matrix(5 * one, 0 * one) @ colour
    assert grey.tolist() == pytest.approx([20, 20, 20])


def test_the_linear_way_is_near_on_modest_colours():
    clips = natural()
    draws = Draws(range(len(clips)))
    shift, scale = draws.between(-12, 12), draws.between(-0.1, 0.1).exp()
    right, near = (torch.stack([change(*clip) for clip in zip(clips, shift, scale, strict=True)])
                   for change in (shift_hue, rotate_hue))
    assert near.dtype == torch.uint8 and near.shape == clips.shape
    faithful, linear = right.double() - clips.double(), near.double() - clips.double()
    assert 0.1 < (linear - faithful).abs().mean() < 3
    assert (linear * faithful).sum() > 0.7 * linear.norm() * faithful.norm()  # both push the colours the same way
    assert 0.8 < linear.abs().mean() / faithful.abs().mean() < 1.25
    greys = torch.arange(256, dtype=torch.uint8)[:, None].expand(1, 256, 3)
    assert rotate_hue(greys, shift[0], scale[0]).equal(greys)


@pytest.mark.parametrize('fast', [False, True])
def test_hue_and_saturation_change_a_quarter_of_the_clips(fast):
    clips = natural(4).repeat(50, 1, 1, 1, 1, 1)[:, :, :, ::6, ::8]
    before = clips.clone()
    changed = BatchHueSaturation(p=0.25, fast=fast)(clips, {}, Draws(range(200)))
    share = (changed != clips).flatten(1).any(dim=1).double().mean()
    assert share == pytest.approx(0.25, abs=0.1) and clips.equal(before)
    assert changed.dtype == torch.uint8 and changed.shape == clips.shape
    alone = torch.cat([BatchHueSaturation(p=0.25, fast=fast)(clips[n:n + 1], {}, Draws([n])) for n in range(30)])
    assert alone.equal(changed[:30])


def test_hue_wants_whole_numbers_and_leaves_what_is_not_chosen():
    clips = natural(2)
    assert BatchHueSaturation(p=0)(clips, {}, Draws([1, 2])) is clips
    with pytest.raises(ConfigError, match='BatchHueSaturation: takes uint8 clips'):
        BatchHueSaturation(p=1)(clips.float(), {}, Draws([1, 2]))


DRIFTS = [(DynamicBrightness, 30, lambda clip, value: clip + value), (DynamicContrast, 0.12, lambda clip, x: clip * x)]
EVERY_DRIFT = pytest.mark.parametrize(('drift', 'delta', 'apply'), DRIFTS, ids=['brightness', 'contrast'])


@EVERY_DRIFT
def test_light_drifts_by_one_value_per_frame(drift, delta, apply):
    clips = torch.full((200, 1, 16, 2, 2, 3), 100, dtype=torch.uint8)
    changed = drift(p=1, delta=delta)(clips, {}, Draws(range(200)))
    assert changed.dtype == torch.float32 and changed.shape == clips.shape
    frames = changed[:, 0].flatten(2)
    assert frames.eq(frames[..., :1]).all()
    values = frames[..., 0] - 100 if drift is DynamicBrightness else frames[..., 0] / 100 - 1
    low, high = (-delta, delta) if drift is DynamicBrightness else (math.expm1(-delta), math.expm1(delta))
    assert 1.0001 * low <= values.min() < 0.9 * low and 0.9 * high < values.max() <= 1.0001 * high
    assert values[:, [0, -1]].mean().abs() < 0.15 * delta and values.diff(dim=1).abs().max() < 2 * delta / 3
    # Seven of ten have no key inside and never turn; of those, seven of ten are linear.
    steps = values.diff(dim=1)
    turns = (steps[:, 1:] * steps[:, :-1] < 0).any(dim=1).double().mean()
    assert 0.05 < turns < 0.25
    linear = (steps - steps.mean(dim=1, keepdim=True)).abs().amax(dim=1) < 1e-3 * delta
    assert linear.double().mean() == pytest.approx(0.49, abs=0.12)


@EVERY_DRIFT
def test_light_is_clipped_and_half_of_the_clips_are_left_alone(drift, delta, apply):
    clips = noise(100, 1, 4, 3, 3, 3)
    before, draws = clips.clone(), Draws(range(100))
    changed = drift(p=0.5, delta=delta)(clips, {}, draws)
    assert changed.min() >= 0 and changed.max() <= 255 and clips.equal(before)
    left = (changed == clips).flatten(1).all(dim=1)
    assert 35 <= left.sum() <= 65
    chosen, values = drift(p=0.5, delta=delta).draw(4, Draws(range(100)))
    assert chosen.equal(~left)
    expected = apply(clips.double(), values[:, None, :, None, None, None]).clamp(0, 255)
    assert changed[chosen].double().allclose(expected[chosen], atol=1e-3)


@EVERY_DRIFT
def test_light_takes_floats_and_any_batch(drift, delta, apply):
    clips = noise(6, 2, 5, 4, 3, 3)
    together = drift(p=0.5, delta=delta)(clips.float(), {}, Draws(range(6)))
    assert together.equal(drift(p=0.5, delta=delta)(clips, {}, Draws(range(6))).float())
    for place in range(6):
        alone = drift(p=0.5, delta=delta)(clips[place:place + 1], {}, Draws([place]))
        assert alone[0].float().equal(together[place])
    assert drift(p=0, delta=delta)(clips, {}, Draws(range(6))) is clips


@EVERY_DRIFT
@pytest.mark.parametrize('frames', [1, 2, 3])
def test_light_of_tiny_clips(drift, delta, apply, frames):
    changed = drift(p=1, delta=delta, key_probabilities=(0.2, 0.3, 0.5))(noise(8, 1, frames, 2, 2, 3), {},
                                                                       Draws(range(8)))
    assert changed.isfinite().all() and changed.shape[2] == frames


@pytest.mark.parametrize('make', [lambda: BatchHueSaturation(p=1.5), lambda: DynamicBrightness(p=-1, delta=3),
                                  lambda: DynamicContrast(p=1, delta=3, key_probabilities=(0.7, 0.2))])
def test_probabilities_out_of_range(make):
    with pytest.raises(ConfigError, match='must be'):
        make()
