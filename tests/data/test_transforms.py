"""Pixel transforms: geometry, ranges, one draw for all frames."""

import cv2
import numpy as np
import pytest

from fedvssl.data.transforms import (
    Brightness,
    CenterCrop,
    Contrast,
    FastResizeCrop,
    Flip,
    HueSaturation,
    RandomCrop,
    RandomResize,
    Resize,
)
from fedvssl.errors import ConfigError


def frames(height=60, width=80, count=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def random(seed=0):
    return np.random.default_rng(seed)


class Fixed:
    """Stands in for a generator: draws what it is told."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return 0.0

    def uniform(self, low, high):
        return self.value


@pytest.mark.parametrize(('size', 'height', 'width', 'expected'), [
    ((171, 128), 60, 80, (128, 171)), ([171, 128], 60, 80, (128, 171)), ((171, 128), 80, 60, (171, 128)),
    (112, 60, 80, (112, 149)), (112, 80, 60, (149, 112)),
])
def test_resize(size, height, width, expected):
    given = frames(height, width)
    resized = Resize(size)(given, random())
    assert resized.shape == (3, *expected, 3)
    np.testing.assert_array_equal(resized[1], cv2.resize(given[1], expected[::-1], interpolation=cv2.INTER_LINEAR))


def test_resize_chooses_uniformly_among_sizes():
    resize = RandomResize([(149, 112), (171, 128), (192, 144)])
    widths = [resize(frames(count=1), random(seed)).shape[2] for seed in range(300)]
    assert {width: 70 < widths.count(width) < 130 for width in (149, 171, 192)} == dict.fromkeys((149, 171, 192), True)


def test_crops():
    given = frames(128, 171)
    np.testing.assert_array_equal(CenterCrop(112)(given, random()), given[:, 8:120, 29:141])
    places = set()
    for seed in range(200):
        cut = RandomCrop(126)(given, random(seed))
        y, x = next((y, x) for y in range(3) for x in range(46) if np.array_equal(cut, given[:, y:y + 126, x:x + 126]))
        places.add((y, x))
    assert {y for y, _ in places} == {0, 1, 2} and min(x for _, x in places) == 0 and max(x for _, x in places) == 45
    with pytest.raises(ConfigError, match='RandomCrop: size 130 does not fit into 171x128'):
        RandomCrop(130)(given, random())


def smooth_frames(height, width, count=2):
    coarse = np.random.default_rng(1).integers(0, 256, (count, 9, 12, 3), dtype=np.uint8)
    return np.stack([cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC) for picture in coarse])


@pytest.mark.parametrize(('height', 'width'), [(256, 340), (240, 320), (340, 256), (120, 120)])
def test_the_fast_crop_takes_the_window_of_the_two_steps(height, width):
    given, sizes = smooth_frames(height, width), [112, 128, (192, 144)]
    for seed in range(6):
        both, same = random(seed), random(seed)
        expected = RandomCrop(112)(RandomResize(sizes)(given, both), both)
        found = FastResizeCrop(sizes, 112)(given, same)
        assert found.shape == expected.shape == (2, 112, 112, 3) and found.dtype == np.uint8
        assert np.abs(found.astype(int) - expected).mean() < 4  # full contrast every few pixels; real videos: below 2
        assert both.integers(1 << 30) == same.integers(1 << 30)  # as many draws, in the same order
    with pytest.raises(ConfigError, match='FastResizeCrop: size 130 does not fit into 112x112'):
        FastResizeCrop([112], 130)(smooth_frames(112, 112), random())


def test_flip():
    given = frames()
    np.testing.assert_array_equal(Flip(1.0)(given, random()), given[:, :, ::-1])
    assert Flip(0.0)(given, random()) is given
    assert 0.28 < np.mean([Flip(0.35)(given, random(seed)) is not given for seed in range(1000)]) < 0.42


def test_brightness_and_contrast_clip():
    given = np.array([0, 100, 250], np.uint8).reshape(1, 1, 1, 3)
    assert Brightness(1, 32)(given, Fixed(20.4)).ravel().tolist() == [20, 120, 255]
    assert Brightness(1, 32)(given, Fixed(-20)).ravel().tolist() == [0, 80, 230]
    assert Contrast(1, 0.2)(given, Fixed(0.2)).ravel().tolist() == [0, 122, 255]


def test_hue_is_clipped_not_wrapped():
    """On numpy >= 2 mmaction2's version overflows here."""
    red, pink = np.array([[[[255, 0, 0]]]], np.uint8), np.array([[[[255, 0, 10]]]], np.uint8)  # hue 0 and 179
    np.testing.assert_array_equal(HueSaturation(1, 12, 0.0)(red, _Sequence([-12, 0])), red)
    shifted = HueSaturation(1, 12, 0.0)(pink, _Sequence([12, 0]))
    assert cv2.cvtColor(shifted[0], cv2.COLOR_RGB2HSV)[0, 0, 0] >= 178


class _Sequence(Fixed):
    def __init__(self, values):
        self.values = iter(values)

    def uniform(self, low, high):
        return next(self.values)


@pytest.mark.parametrize('transform', [
    Resize(20), RandomResize([20, 24]), RandomCrop(16), FastResizeCrop([20, 24], 16),
    Flip(0.5), Brightness(1, 32), Contrast(1, 0.2), HueSaturation(1, 12, 0.1)])
def test_all_frames_get_the_same_draw_and_the_seed_decides_it(transform):
    given = np.repeat(frames(count=1), 4, axis=0)
    first, same = transform(given, random(3)), transform(given, random(3))
    assert first.dtype == np.uint8 and all(np.array_equal(frame, first[0]) for frame in first)
    np.testing.assert_array_equal(first, same)
