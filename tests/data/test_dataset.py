"""One sample: which frames are read, which draws its clips share, and its seed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedvssl.config import DecodeConfig, from_dict
from fedvssl.data import clips as clips_module
from fedvssl.data.annotations import Video
from fedvssl.data.clips import ClipReader
from fedvssl.data.dataset import ClipDataset, build_dataset, read_videos
from fedvssl.data.sampling import ClipPlan, RandomClipSampler, SpeedSampler
from fedvssl.data.transforms import RandomCrop
from tests.conftest import tiny_values

FRAMES, HEIGHT, WIDTH = 30, 12, 14


class FakeReader:
    """Frames whose pixels tell frame number, row and column; remembers what was asked for."""

    asked: list[list[int]] = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def __len__(self):
        return FRAMES

    backend = 'fake'

    def get(self, indices, size=None):
        assert size is None
        self.asked.append([int(index) for index in indices])
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        return np.stack([np.stack([np.full_like(x, index), y, x], axis=-1) for index in indices]).astype(np.uint8)


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setattr(clips_module, 'open_video', lambda path, backend, **options: FakeReader())
    monkeypatch.setattr(FakeReader, 'asked', [])
    return FakeReader.asked


class Fixed:
    """Plans the same clips for every video."""

    def __init__(self, indices):
        self.indices = np.array(indices)

    def __call__(self, num_frames, random):
        return ClipPlan(self.indices)


class Recording:
    """A transform that remembers how many frames it saw at a time."""

    def __init__(self):
        self.seen = []

    def __call__(self, frames, random):
        self.seen.append(frames[:, 0, 0, 0].tolist())
        return frames


def dataset(sampler, transforms=(), **options):
    reader = ClipReader(Path('root'), sampler, transforms, DecodeConfig(index=None), **options)
    return ClipDataset([Video(f'{index}.mp4', 5, {}, index) for index in range(3)], reader)


def corners(clips):
    """Returns the row and column at which each frame (M, T) was cut out."""
    return clips[:, :, 0, 0, 1:]


TWINS = [[2, 4, 6], [2, 4, 6]]


def test_clips_of_a_sample_share_their_draws_by_default(asked):
    for names in range(10):
        clips = dataset(Fixed(TWINS), [RandomCrop(6)]).load(0, 7, names)['inputs']
        assert np.ptp(corners(clips).reshape(-1, 2), axis=0).tolist() == [0, 0]


def test_independent_clips_have_draws_of_their_own(asked):
    videos = dataset(Fixed(TWINS), [RandomCrop(6)], independent_clips=True)
    places = [corners(videos.load(0, 7, names)['inputs']) for names in range(40)]
    assert all((place == place[:, :1]).all() for place in places)  # all frames of a clip alike
    same = sum(np.array_equal(place[0], place[1]) for place in places)
    assert same < 6  # of 7 x 9 places
    assert all(frames == [2, 4, 6] for frames in asked)  # both clips are read once


def test_independent_clips_show_the_frames_of_the_plan(asked):
    plan = [[2, 4, 6], [9, 4, 4]]
    clips = dataset(Fixed(plan), [RandomCrop(6)], independent_clips=True).load(0, 7)['inputs']
    assert clips.shape == (2, 3, 6, 6, 3) and clips[:, :, 0, 0, 0].tolist() == plan
    assert asked == [[2, 4, 6, 9]]


def test_one_clip_is_drawn_alike_with_and_without_independence(asked):
    samplers = [dataset(RandomClipSampler(4), [RandomCrop(6)], independent_clips=flag) for flag in (False, True)]
    shared, independent = (videos.load(1, 7, 'x')['inputs'] for videos in samplers)
    np.testing.assert_array_equal(shared, independent)


@pytest.mark.parametrize('independent', [False, True])
def test_a_frozen_frame_is_read_and_transformed_once(asked, independent):
    transform = Recording()
    sample = dataset(Fixed([[7] * 16]), [transform], independent_clips=independent).load(0, 7)
    assert asked == [[7]] and transform.seen == [[7]]
    assert sample['inputs'].shape == (1, 16, HEIGHT, WIDTH, 3) and (sample['inputs'][..., 0] == 7).all()


def test_speed_reads_no_more_frames_than_its_clip_shows(asked):
    videos = dataset(SpeedSampler())
    for number in range(60):
        sample = videos.load(0, 7, number)
        shown = sample['inputs'][0, :, 0, 0, 0].tolist()
        assert asked[-1] == sorted(set(shown))
        if sample['target'] == 3:  # stride 0
            assert len(asked[-1]) == 1
        elif sample['target'] < 3:
            assert shown == sorted(shown, reverse=True)
    assert min(map(len, asked)) == 1 and max(map(len, asked)) == 16


def test_backward_clips_keep_their_order(asked):
    assert dataset(Fixed([[9, 6, 3]])).load(0, 7)['inputs'][0, :, 0, 0, 0].tolist() == [9, 6, 3]


def test_the_target_is_the_samplers_or_else_the_label(asked):
    assert dataset(Fixed(TWINS)).load(0, 7)['target'] == 5
    assert {dataset(SpeedSampler()).load(0, 7, number)['target'] for number in range(80)} == set(range(7))


def test_every_sample_of_every_epoch_has_a_seed_of_its_own(asked):
    videos = dataset(Fixed(TWINS))
    names = [(index, epoch, seed) for index in range(3) for epoch in range(20) for seed in (7, 8)]
    seeds = [videos.load(index, seed, 'client', epoch)['seed'] for index, epoch, seed in names]
    assert len(set(seeds)) == len(names) and all(0 <= seed < 2 ** 63 for seed in seeds)
    assert seeds == [dataset(Fixed(TWINS)).load(index, seed, 'client', epoch)['seed'] for index, epoch, seed in names]
    assert max(seeds) > 2 ** 62  # the whole range, or nearly


def test_the_seed_says_nothing_of_the_frames_drawn(asked):
    """What is drawn on the device has a stream of its own: another sampler does not change it."""
    seeds = {dataset(sampler).load(0, 7, 'x')['seed'] for sampler in (Fixed(TWINS), SpeedSampler())}
    assert len(seeds) == 1


def test_a_config_asks_for_independent_clips_by_phase(tiny_videos):
    data = from_dict(tiny_values(tiny_videos)).data
    videos = read_videos(data, 'train')
    assert not build_dataset(data, data.train, videos, True).independent_clips
    assert build_dataset(data, replace(data.train, independent_clips=True), videos, True).independent_clips
