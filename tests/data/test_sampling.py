"""Clip sampling against the golden values of the published code."""

from itertools import permutations

import numpy as np
import pytest

from fedvssl.data.sampling import MidTickSampler, RandomClipSampler, SpeedSampler, VCOPSampler, mid_ticks
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


PUBLISHED_STRIDES = (-4, -2, -1, 0, 1, 2, 4)


def speed_plans(num_frames, target, count=400):
    """Returns the clips (n, T) of all draws with a given target."""
    plans = [draw(SpeedSampler(), num_frames, seed) for seed in range(count)]
    return np.stack([plan.indices[0] for plan in plans if plan.target == target])


@pytest.mark.parametrize(('target', 'stride'), enumerate(PUBLISHED_STRIDES))
def test_speed_shows_the_stride_that_its_target_names(target, stride):
    clips = speed_plans(100, target)
    assert clips.shape[1] == 16 and (np.diff(clips, axis=1) == stride).all()


def test_speed_of_a_video_that_just_fits():
    assert speed_plans(61, 6)[0].tolist() == list(range(0, 61, 4))
    assert speed_plans(61, 0)[0].tolist() == list(range(60, -1, -4))  # the same frames, backwards
    assert len(np.unique(speed_plans(61, 6), axis=0)) == 1


@pytest.mark.parametrize(('target', 'stride'), enumerate(PUBLISHED_STRIDES))
def test_speed_starts_are_uniform_over_all_that_fit(target, stride):
    num_frames = 15 * abs(stride) + 1 + 4
    clips = speed_plans(num_frames, target)
    counts = np.bincount(clips.min(axis=1), minlength=5)
    assert len(counts) == 5 and counts.min() > 0  # 0 to N - (15 |s| + 1)


def test_speed_freezes_one_frame_of_any():
    clips = speed_plans(8, 3)
    assert (clips == clips[:, :1]).all() and set(clips[:, 0]) == set(range(8))


@pytest.mark.parametrize(('target', 'expected'), [
    (6, [0, 4, 8] + [9] * 13), (0, [9] * 13 + [8, 4, 0]), (4, [*range(10)] + [9] * 6), (3, None)])
def test_speed_of_a_short_video_clamps(target, expected):
    clips = speed_plans(10, target)
    assert clips.max() == 9 if expected is None else (clips == expected).all()


def test_speed_targets_are_uniform():
    counts = np.bincount([draw(SpeedSampler(), 64, seed).target for seed in range(3500)], minlength=7)
    assert len(counts) == 7 and counts.min() > 420 and counts.max() < 580


def test_speed_with_reduced_geometry():
    plan = draw(SpeedSampler(clip_length=4, strides=[3, -3]), 10)
    assert plan.indices.tolist() in ([[0, 3, 6, 9]], [[9, 6, 3, 0]]) and plan.target in (0, 1)
    assert (plan.indices[0, 0] == 9) == (plan.target == 1)


@pytest.mark.parametrize('sampler', [
    SpeedSampler(), RandomClipSampler(stride=[1, 2, 3, 4, 5], jitter=True), RandomClipSampler(num_clips=2)])
def test_a_video_of_one_frame(sampler):
    for seed in range(20):
        assert (draw(sampler, 1, seed).indices == 0).all()


def without_jitter(stride, clip_length=16):
    return stride * np.arange(clip_length)


@pytest.mark.parametrize('stride', [1, 2, 3, 5])
def test_jitter_moves_a_frame_by_less_than_the_stride(stride):
    """A video that the clip just fits starts at 0, so that what is left is jitter."""
    num_frames = 15 * stride + 1
    sampler = RandomClipSampler(stride=stride, jitter=True)
    moved = np.stack([draw(sampler, num_frames, seed).indices[0] for seed in range(60)]) - without_jitter(stride)
    assert set(moved[:, :15].ravel()) == set(range(stride))  # 0 .. s - 1; none at stride 1
    assert (moved[:, 15] == 0).all()  # clamped to the last frame
    assert (moved[:, :15].max(axis=0) == stride - 1).all() and (moved[:, :15].min(axis=0) == 0).all()
    if stride > 1:
        assert len(np.unique(moved, axis=0)) == 60  # each frame by itself


def test_a_stride_is_chosen_uniformly_clip_by_clip():
    sampler = RandomClipSampler(stride=[1, 2, 3, 4], num_clips=2)
    strides = np.stack([np.diff(draw(sampler, 80, seed).indices, axis=1)[:, 0] for seed in range(1600)])
    table = np.zeros((4, 4), int)
    np.add.at(table, (strides[:, 0] - 1, strides[:, 1] - 1), 1)
    assert table.min() > 65 and table.max() < 135  # 100 each: the two are independent


def test_the_two_clips_of_moco_start_independently():
    sampler = RandomClipSampler(clip_length=16, stride=1, num_clips=2, jitter=True)
    starts = np.stack([draw(sampler, 18, seed).indices[:, 0] for seed in range(900)])
    table = np.zeros((3, 3), int)
    np.add.at(table, tuple(starts.T), 1)
    assert table.min() > 65 and table.max() < 135


def test_a_jittered_clip_starts_anywhere_it_fits_without_jitter():
    sampler = RandomClipSampler(clip_length=4, stride=2, jitter=True)
    clips = np.stack([draw(sampler, 10, seed).indices[0] for seed in range(300)])
    assert set(clips[:, 0]) == set(range(5))  # starts 0..3, moved by 0 or 1
    assert clips.max() == 9 and (np.diff(clips, axis=1) >= 0).all()


def test_a_list_of_one_stride_draws_like_that_stride():
    assert draw(RandomClipSampler(stride=2), 99).indices.tolist() == draw(
        RandomClipSampler(stride=[2]), 99).indices.tolist()


def test_plain_clips_have_no_target():
    assert draw(RandomClipSampler(stride=[1, 2]), 50).target is None


def test_arguments_out_of_range():
    with pytest.raises(ConfigError, match='num_clips'):
        VCOPSampler(num_clips=1)
    for stride in (0, [], [2, 0], [1, -1]):
        with pytest.raises(ConfigError, match='RandomClipSampler: stride must be at least 1'):
            RandomClipSampler(stride=stride)
    with pytest.raises(ConfigError, match='RandomClipSampler: num_clips must be at least 1, not 0'):
        RandomClipSampler(num_clips=0)
    for strides in ([], [1], [1, 2, 1]):
        with pytest.raises(ConfigError, match=r'SpeedSampler: strides must be at least two different numbers, not \['):
            SpeedSampler(strides=strides)
    with pytest.raises(ConfigError, match='SpeedSampler: clip_length must be at least 1, not 0'):
        SpeedSampler(clip_length=0)
