"""Clip sampling against the golden values of the published code."""

from itertools import permutations

import numpy as np
import pytest

from fedvssl.data.sampling import MidTickSampler, RandomClipSampler, VCOPSampler, mid_ticks
from fedvssl.errors import ConfigError


def draw(sampler, num_frames, seed=0):
    return sampler(num_frames, np.random.default_rng(seed))


def in_order(plan, num_clips=3):
    """Undoes the shuffle that the target names."""
    permutation = list(permutations(range(num_clips)))[plan.target]
    ordered = np.empty_like(plan.indices)
    ordered[list(permutation)] = plan.indices
    return ordered


def test_vcop_of_64_frames_starts_at_0_only():
    for seed in range(50):
        ordered = in_order(draw(VCOPSampler(), 64, seed))
        np.testing.assert_array_equal(ordered, np.arange(16) + np.array([[0], [24], [48]]))


def test_vcop_of_60_frames_has_gap_6():
    for seed in range(50):
        ordered = in_order(draw(VCOPSampler(), 60, seed))
        np.testing.assert_array_equal(ordered, np.arange(16) + np.array([[0], [22], [44]]))


def test_vcop_starts_are_uniform_over_all_that_fit():
    starts = {int(in_order(draw(VCOPSampler(), 70, seed))[0, 0]) for seed in range(400)}
    assert starts == set(range(7))


@pytest.mark.parametrize(('num_frames', 'starts'), [
    (48, [5, 16, 27]), (49, [5, 17, 28]), (20, [0, 2, 4]), (16, [0, 0, 0]), (10, [0, 0, 0])])
def test_vcop_of_short_videos_uses_mid_ticks_and_clamps(num_frames, starts):
    ordered = in_order(draw(VCOPSampler(), num_frames))
    np.testing.assert_array_equal(ordered, np.minimum(np.array(starts)[:, None] + np.arange(16), num_frames - 1))


def test_vcop_of_one_frame():
    assert (draw(VCOPSampler(), 1).indices == 0).all()


def test_vcop_targets_are_uniform_and_lexicographic():
    counts = np.bincount([draw(VCOPSampler(), 64, seed).target for seed in range(3000)], minlength=6)
    assert counts.min() > 400 and counts.max() < 600
    plan = next(plan for plan in (draw(VCOPSampler(), 64, seed) for seed in range(100)) if plan.target == 3)
    assert plan.indices[:, 0].tolist() == [24, 48, 0]  # permutation 3 is (1, 2, 0): position 0 holds clip 1


def test_vcop_with_reduced_geometry():
    ordered = in_order(draw(VCOPSampler(clip_length=8, gap=4), 32))
    np.testing.assert_array_equal(ordered, np.arange(8) + np.array([[0], [12], [24]]))
    touching = in_order(draw(VCOPSampler(clip_length=8, gap=0), 24))
    np.testing.assert_array_equal(touching.ravel(), np.arange(24))


def test_mid_ticks():
    # N = 100, clips of 16 frames at stride 2 (span 32), 10 clips: τ = 69 / 10
    assert mid_ticks(100, 32, 10).tolist() == [3, 10, 17, 24, 31, 37, 44, 51, 58, 65]
    assert mid_ticks(31, 32, 10).tolist() == [0] * 10


def test_test_clips_are_clamped_and_not_random():
    sampler = MidTickSampler(clip_length=16, stride=2, num_clips=10)
    plan = draw(sampler, 20)
    assert plan.indices.shape == (10, 16) and plan.target is None
    np.testing.assert_array_equal(plan.indices[0], np.minimum(2 * np.arange(16), 19))
    np.testing.assert_array_equal(plan.indices, draw(sampler, 20, seed=5).indices)


def test_training_clips_cover_every_start():
    sampler = RandomClipSampler(clip_length=16, stride=2)
    starts = {int(draw(sampler, 35, seed).indices[0, 0]) for seed in range(200)}
    assert starts == set(range(5))  # 31 frames are spanned
    assert draw(sampler, 5).indices.max() == 4


def test_arguments_out_of_range():
    with pytest.raises(ConfigError, match='num_clips'):
        VCOPSampler(num_clips=1)
    with pytest.raises(ConfigError, match='stride'):
        RandomClipSampler(stride=0)
