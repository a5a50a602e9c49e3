"""The reference of CtP's transforms: the published statistics, hand calculations, and the same numbers from our own.

Published statistics: simulation of the published generator over 2000 clips of 16 frames at 112 x 112. A deviation is
judged by the standard error of both simulations, taken over clips, because the boxes of a clip share their key frames.
"""

import math
from functools import cache

import cv2
import numpy as np
import pytest
import torch

from fedvssl.benchmarks import ctp_reference as reference
from fedvssl.data.draws import Draws
from fedvssl.models.augments.patches import Patches
from fedvssl.models.augments.trajectories import Trajectories
from fedvssl.models.pretext.ctp import encode, tracking_loss

CLIPS = 2000
PUBLISHED_CLIPS = 2000
STDS = torch.tensor([0.8, 0.8, 0.04, 0.04])


@cache
def boxes_of(generator):
    """Returns boxes float64 (N, 3, 16, 4) of the reference or of ours."""
    if generator == 'ours':
        return Trajectories().draw(16, 112, 112, Draws(range(CLIPS))).double()
    random = np.random.default_rng(5)
    return torch.from_numpy(np.stack([reference.draw_trajectories_reference(random) for _ in range(CLIPS)])).double()


def shifts(boxes):
    """Shift of the centre to the last frame, (N, 3, 2), and ln of the last side over the first."""
    moved = encode(boxes)[:, :, -1]
    return moved[..., :2], moved[..., 2:]


def mean_side(boxes):
    return estimate((boxes[..., 2:] - boxes[..., :2]).flatten(1).mean(dim=1))


def deviation(values):
    """Root mean square with its standard error."""
    square, error = estimate(values.square().flatten(1).mean(dim=1))
    return math.sqrt(square), error / (2 * math.sqrt(square))


def estimate(per_clip):
    return float(per_clip.mean()), float(per_clip.std()) / math.sqrt(len(per_clip))


STATISTICS = {
    'mean side': (mean_side, 36.4, 0.05),
    'shift of the centre': (lambda boxes: deviation(shifts(boxes)[0]), 18.3, 0.05),
    'ln of the sides': (lambda boxes: deviation(shifts(boxes)[1]), 0.174, 0.0005),
}
GENERATORS = pytest.mark.parametrize('generator', ['reference', 'ours'])


@GENERATORS
@pytest.mark.parametrize('name', STATISTICS)
def test_published_statistics(generator, name):
    statistic, published, rounding = STATISTICS[name]
    value, error = statistic(boxes_of(generator))
    published_error = error * math.sqrt(CLIPS / PUBLISHED_CLIPS)
    assert abs(value - published) <= 3 * math.hypot(error, published_error) + rounding


@pytest.mark.parametrize('name', STATISTICS)
def test_both_generators_agree(name):
    (first, error), (second, other) = (STATISTICS[name][0](boxes_of(g)) for g in ('reference', 'ours'))
    assert abs(first - second) <= 3 * math.hypot(error, other)


VALUES = {
    'width': lambda boxes: boxes[:, 0, 0, 2] - boxes[:, 0, 0, 0],
    'aspect': lambda boxes: (boxes[:, 0, 0, 2] - boxes[:, 0, 0, 0]) / (boxes[:, 0, 0, 3] - boxes[:, 0, 0, 1]),
    'height at the end': lambda boxes: boxes[:, 0, -1, 3] - boxes[:, 0, -1, 1],
    'left side': lambda boxes: boxes[:, 0, 0, 0],
    'way in x': lambda boxes: shifts(boxes)[0][:, 0, 0],
    'way in y half-way': lambda boxes: encode(boxes)[:, 0, 8, 1],
    'ln of the width': lambda boxes: shifts(boxes)[1][:, 0, 0],
}


@pytest.mark.parametrize('name', VALUES)
def test_both_generators_have_the_same_distributions(name):
    """Kolmogorov-Smirnov, p = 0.001; one patch a clip, so that the values are independent."""
    first, second = (VALUES[name](boxes_of(g)).sort().values for g in ('reference', 'ours'))
    grid = torch.cat([first, second]).unique()
    distance = (torch.searchsorted(first, grid, right=True) - torch.searchsorted(second, grid, right=True)).abs().max()
    assert float(distance) / CLIPS < 1.95 * math.sqrt(2 / CLIPS)


@GENERATORS
def test_boxes_stay_within_what_is_possible(generator):
    boxes = boxes_of(generator)
    sides = boxes[..., 2:] - boxes[..., :2]
    assert boxes.min() >= 0 and boxes.max() <= 112 and boxes.equal(boxes.round())
    assert 6 <= sides.min() <= 8 and 108 <= sides.max() <= 112
    moved, grown = shifts(boxes)
    assert 40 < moved.abs().max() <= 45.5 and 0.35 < grown.abs().max() < 0.5  # at most 3 px and 2.5 % a frame


@GENERATORS
def test_predicting_no_motion_costs_what_is_published(generator):
    """22.5 = 19.3 for the centres + 3.25 for the sides."""
    targets = encode(boxes_of(generator)) / STDS
    loss = tracking_loss(torch.zeros_like(targets), targets)
    assert float(loss['loss']) == pytest.approx(22.5, abs=1)
    assert float(loss['loss_center']) == pytest.approx(19.3, abs=0.9)
    assert float(loss['loss_size']) == pytest.approx(3.25, abs=0.15)


@GENERATORS
def test_patches_are_shown_in_frame_0_in_their_own_and_in_four_of_five_others(generator):
    if generator == 'ours':
        patches = Patches.draw(boxes_of('ours').long(), (0.5, 0.3, 0.2), 0.8, Draws(range(CLIPS), 1))
        drawn = {name: value.numpy() for name, value in vars(patches).items()}
    else:
        random = np.random.default_rng(6)
        clips = [vars(reference.draw_patches_reference(random, 16, 112, 112)) for _ in range(CLIPS // 4)]
        drawn = {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}
    visible, source = drawn['visible'], drawn['source']
    assert visible[..., 0].all() and np.take_along_axis(visible, source[..., None], 2).all()
    share, shown = 0.8 + 0.2 / 16, visible[..., 1:].mean(axis=(1, 2))
    assert abs(shown.mean() - share) < 3 * shown.std() / math.sqrt(len(shown))
    count = drawn['shape'].size
    for value, probability in enumerate((0.50, 0.35, 0.15)):
        tolerance = 3.5 * math.sqrt(probability * (1 - probability) / count)
        assert np.mean(drawn['shape'] == value) == pytest.approx(probability, abs=tolerance)
    soft = drawn['edge'] < 0.5
    assert soft.mean() == pytest.approx(0.5, abs=3.5 * math.sqrt(0.25 / count))
    assert drawn['edge'].min() >= 0.30 and drawn['edge'][soft].max() < 0.45
    assert drawn['opacity'].min() >= 0.8 and drawn['opacity'].max() <= 1
    assert drawn['opacity'].mean() == pytest.approx(0.9, abs=0.005)


def test_key_frames():
    random = np.random.default_rng(1)
    drawn = [reference.draw_keys_reference(random, 16, (0.5, 0.3, 0.2)) for _ in range(3000)]
    assert all(keys[0] == 0 and keys[-1] == 15 for keys in drawn)
    counts = np.bincount([len(keys) - 2 for keys in drawn]) / len(drawn)
    assert counts == pytest.approx([0.5, 0.3, 0.2], abs=0.03)
    assert {keys[1] for keys in drawn if len(keys) == 3} == {6, 7, 8, 9}
    assert {tuple(keys[1:3]) for keys in drawn if len(keys) == 4} == {(4, 9), (4, 10), (5, 9), (5, 10)}


def test_interpolation_by_hand():
    values = reference.interpolate_reference([0, 4, 6], [0.0, 16.0, 8.0], [1, 2])
    assert values == pytest.approx([0, 1, 4, 9, 16, 10, 8])
    assert reference.interpolate_reference([0, 2], [1.0, 3.0]) == pytest.approx([1, 2, 3])


def test_base_alpha_by_hand():
    ones = np.ones((3, 4), dtype=np.float32)
    np.testing.assert_array_equal(reference.base_alpha_reference(4, 3, reference.RECTANGLE, 0.5), ones)
    # Centre (1, 1): distances in x are 1/4, 0, 1/4, 1/2 and in y 1/3, 0, 1/3.
    np.testing.assert_array_equal(reference.base_alpha_reference(4, 3, reference.RHOMBUS, 0.5),
                                  [[0, 1, 0, 0], [1, 1, 1, 0], [0, 1, 0, 0]])
    np.testing.assert_array_equal(reference.base_alpha_reference(4, 3, reference.ELLIPSE, 0.5),
                                  [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0]])
    soft = reference.base_alpha_reference(4, 3, reference.RECTANGLE, 0.3)
    np.testing.assert_allclose(soft[1], [1, 1, 1, 0])
    np.testing.assert_allclose(soft[0], [5 / 6, 5 / 6, 5 / 6, 0], rtol=1e-6)
    np.testing.assert_array_equal(reference.base_alpha_reference(1, 1, reference.ELLIPSE, 0.4), [[1]])


def paste(frames, **changes):
    """Pastes one patch into two 8 x 8 frames, from pixels 1 and 2 of frame 0 to pixels 4 and 5 of frame 1."""
    parameters = dict(boxes=np.array([[[1, 1, 3, 3], [4, 4, 6, 6]]]), source=np.array([0]), shape=np.array([0]),
                      edge=np.array([0.5]), opacity=np.array([[1.0, 0.9]]), visible=np.ones((1, 2), dtype=bool))
    return reference.paste_reference(frames, **parameters | changes)


def test_pasting_by_hand():
    frames = [np.full((8, 8, 3), 20, dtype=np.uint8), np.full((8, 8, 3), 100, dtype=np.uint8)]
    frames[0][1:3, 1:3] = 200
    pasted = paste(frames)
    np.testing.assert_array_equal(pasted[0], frames[0])
    expected = frames[1].copy()
    expected[4:6, 4:6] = 190  # 0.9 * 200 + 0.1 * 100
    np.testing.assert_array_equal(pasted[1], expected)
    frames[1][:] = 105
    expected[:] = 105
    expected[4:6, 4:6] = 190  # 190.5, cut off
    np.testing.assert_array_equal(paste(frames)[1], expected)


def test_what_is_not_visible_is_not_pasted_and_nothing_is_changed_in_place():
    frames = list(np.random.default_rng(2).integers(256, size=(2, 8, 8, 3), dtype=np.uint8))
    before = np.stack(frames)
    pasted = paste(frames, visible=np.array([[True, False]]))
    np.testing.assert_array_equal(pasted[1], before[1])
    np.testing.assert_array_equal(np.stack(frames), before)


def test_small_patches_end_up_on_top():
    columns = np.broadcast_to(30 * np.arange(8, dtype=np.uint8)[:, None], (8, 8, 3)).copy()
    boxes = np.array([[[0, 0, 2, 2], [4, 0, 6, 2]], [[2, 2, 8, 8], [2, 0, 8, 6]]])
    nothing, whole = np.zeros(2, int), np.ones((2, 2))
    frame = reference.paste_reference([columns] * 2, boxes, nothing, nothing, np.full(2, 0.5), whole, whole > 0)[1]
    np.testing.assert_array_equal(frame[0, :, 0], [0, 30, 60, 90, 0, 30, 180, 210])
    np.testing.assert_array_equal(frame[2, :, 0], 30 * np.arange(8))


def test_geometry():
    frames = [np.arange(256 * 340 * 3, dtype=np.uint32).astype(np.uint8).reshape(256, 340, 3)] * 2
    resized = reference.resize_reference(frames, 128)
    assert len(resized) == 2 and resized[0].shape == (128, 170, 3)
    assert reference.resize_reference([frame.transpose(1, 0, 2) for frame in frames], 144)[0].shape == (191, 144, 3)
    cropped = reference.crop_reference(resized, 3, 5, 112)
    np.testing.assert_array_equal(cropped[1], resized[1][5:117, 3:115])
    np.testing.assert_array_equal(reference.flip_reference(cropped)[0], cropped[0][:, ::-1])


def test_colours_by_hand():
    red = [np.array([[[200, 50, 50]]], dtype=np.uint8)]
    np.testing.assert_array_equal(reference.shift_hue_reference(red, 0, 1)[0], red[0])
    np.testing.assert_array_equal(reference.shift_hue_reference(red, -7, 1)[0], red[0])  # hue 0 is clipped, not wrapped
    turned = reference.shift_hue_reference(red, 60, 1)[0]
    np.testing.assert_allclose(turned, [[[50, 200, 50]]], atol=1)
    assert turned.dtype == np.float32
    grey = cv2.cvtColor(reference.shift_hue_reference(red, 0, 0)[0], cv2.COLOR_RGB2HSV)[0, 0]
    assert grey[1] == 0 and grey[2] == 200
    frames = [np.array([[[0, 100, 250]]], dtype=np.uint8)] * 2
    lighter = reference.brightness_reference(frames, [10.5, -30])
    np.testing.assert_allclose(lighter, [[[[10.5, 110.5, 255]]], [[[0, 70, 220]]]])
    np.testing.assert_allclose(reference.contrast_reference(frames, [1.1, 0.5]),
                               [[[[0, 110, 255]]], [[[0, 50, 125]]]], rtol=1e-6)


def test_drift_is_drawn_at_keys_and_kept_in_range():
    random = np.random.default_rng(3)
    shifts = np.array([reference.draw_drift_reference(random, 16, 30) for _ in range(300)])
    factors = np.array([reference.draw_drift_reference(random, 16, 0.12, factors=True) for _ in range(300)])
    assert shifts.shape == (300, 16) and 25 < np.abs(shifts).max() <= 30
    assert math.exp(-0.12) <= factors.min() and factors.max() <= math.exp(0.12) and factors.max() > 1.1


def test_the_whole_chain():
    random = np.random.default_rng(4)
    frames = list(random.integers(256, size=(16, 128, 160, 3), dtype=np.uint8))
    laps = []
    clip, boxes = reference.run_reference(frames, np.random.default_rng(9), laps.append)
    assert clip.shape == (3, 16, 112, 112) and clip.dtype == torch.float32 and boxes.shape == (3, 16, 4)
    assert laps == ['resize', 'crop', 'flip', 'paste', 'hue', 'brightness', 'contrast', 'normalise']
    again, _ = reference.run_reference(frames, np.random.default_rng(9))
    assert again.equal(clip)
    pixels = clip * torch.tensor(reference.STD).view(3, 1, 1, 1) + torch.tensor(reference.MEAN).view(3, 1, 1, 1)
    assert -1e-6 < pixels.min() < 0.05 and 0.95 < pixels.max() < 1 + 1e-6


def test_normalisation_by_hand():
    clip = reference.to_tensor_reference([np.full((2, 4, 3), 51, dtype=np.uint8)])
    assert clip.shape == (3, 1, 2, 4)
    expected = [(0.2 - mean) / std for mean, std in zip(reference.MEAN, reference.STD, strict=True)]
    assert clip[:, 0, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)
