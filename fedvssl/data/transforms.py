"""Pixel transforms on the CPU: all frames of a sample get the same random draw.

A transform is ``transform(frames, random) -> frames`` with frames (F, H, W, 3) uint8 RGB. The generator is an argument,
because mmcv's and mmaction2's transforms draw from global state (and their hue jitter overflows on numpy >= 2).
Geometry and colour follow CtP: cv2 bilinear, HSV with hue clipped (not wrapped) to 0..179. Frames stay uint8, so that
brightness and contrast round, by half a grey level at most, where CtP's code goes on in floats.
"""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import cv2
import numpy as np

from fedvssl.data.frame_ops import mapped, mirrored, resized
from fedvssl.errors import ConfigError
from fedvssl.registry import TRANSFORMS
from fedvssl.video.reader import Frames, Window, window_of


class Transform(Protocol):
    """Anything that maps the frames of a sample to frames."""

    def __call__(self, frames: Frames, random: np.random.Generator) -> Frames:
        """Maps uint8 frames (F, H, W, 3)."""


class Windowed:
    """A transform that cuts a window out of all frames and resizes it, and does nothing else.

    Where it comes first, it happens frame by frame as they are decoded.
    """

    def window(self, width: int, height: int, random: np.random.Generator) -> tuple[int, int] | Window:
        """Returns what becomes of frames of this size: their new width and height, or a window."""
        raise NotImplementedError

    def __call__(self, frames: Frames, random: np.random.Generator) -> Frames:
        """Cuts and resizes all frames alike."""
        height, width = frames.shape[1:3]
        window = window_of(partial(self.window, random=random), width, height)
        part = frames[:, window.top:window.bottom, window.left:window.right]
        unchanged = part.shape[1:3] == (window.height, window.width)
        return part if unchanged else resized(part, (window.width, window.height))


@TRANSFORMS.register_module()
class Resize(Windowed):
    """Resizes every frame to one size.

    Args:
        size: An int is the new short side (aspect kept); a pair is exact (width, height), swapped for portrait videos.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        _require_sizes('Resize', [size])
        self.size = size

    def window(self, width: int, height: int, random: np.random.Generator) -> tuple[int, int]:
        """Returns the new width and height; nothing is random."""
        return _target_size(width, height, self.size)


@TRANSFORMS.register_module()
class RandomResize(Windowed):
    """Resizes every frame to one of several sizes, chosen uniformly.

    Args:
        sizes: Sizes as `Resize` takes them.
    """

    def __init__(self, sizes: Sequence[int | Sequence[int]]) -> None:
        _require_sizes('RandomResize', sizes)
        self.sizes = list(sizes)

    def window(self, width: int, height: int, random: np.random.Generator) -> tuple[int, int]:
        """Returns a new width and height."""
        return _target_size(width, height, self.sizes[random.integers(len(self.sizes))])


def _require_sizes(owner: str, sizes: Sequence[int | Sequence[int]]) -> None:
    if not sizes:
        raise ConfigError(f'{owner}: sizes must hold at least one size')
    for size in sizes:
        sides = [size] if isinstance(size, int) else list(size)
        if not (isinstance(size, int) or len(sides) == 2) or not all(isinstance(n, int) and n > 0 for n in sides):
            raise ConfigError(f'{owner}: a size is a positive int or a pair of them, not {size!r}')


def _target_size(width: int, height: int, size: int | Sequence[int]) -> tuple[int, int]:
    """Returns the width and height that frames get when they are resized to `size`, as `Resize` takes it."""
    if isinstance(size, int):
        scale = size / min(height, width)
        return max(round(width * scale), size), max(round(height * scale), size)
    return (size[0], size[1]) if width >= height else (size[1], size[0])


def _check_fits(owner: str, size: int, width: int, height: int) -> tuple[int, int]:
    """Returns the room left beside a crop, (vertical, horizontal)."""
    if min(height, width) < size:
        raise ConfigError(f'{owner}: size {size} does not fit into {width}x{height} frames; put a Resize before it')
    return height - size, width - size


@TRANSFORMS.register_module()
class RandomCrop:
    """Cuts out a square of `size` pixels at a uniform random place."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, frames: Frames, random: np.random.Generator) -> Frames:
        """Cuts the same square out of every frame."""
        room_y, room_x = _check_fits('RandomCrop', self.size, frames.shape[2], frames.shape[1])
        y, x = random.integers(room_y + 1), random.integers(room_x + 1)
        return frames[:, y:y + self.size, x:x + self.size]


@TRANSFORMS.register_module()
class FastResizeCrop(Windowed):
    """`RandomResize`, then `RandomCrop`, in one step: resizes only the part of the frames that the crop keeps.

    The same draws give the same window up to its rounding to whole pixels of the source, half a pixel at most.

    Args:
        sizes: Sizes as `Resize` takes them.
        crop: Side of the square.
    """

    def __init__(self, sizes: Sequence[int | Sequence[int]], crop: int) -> None:
        _require_sizes('FastResizeCrop', sizes)
        self.sizes, self.crop = list(sizes), crop

    def window(self, width: int, height: int, random: np.random.Generator) -> Window:
        """Returns a square of the resized frames, in pixels of the source."""
        wide, high = _target_size(width, height, self.sizes[random.integers(len(self.sizes))])
        room_y, room_x = _check_fits('FastResizeCrop', self.crop, wide, high)
        y, x = random.integers(room_y + 1), random.integers(room_x + 1)
        top, bottom = (round(edge * height / high) for edge in (y, y + self.crop))
        left, right = (round(edge * width / wide) for edge in (x, x + self.crop))
        return Window(left, top, max(right, left + 1), max(bottom, top + 1), self.crop, self.crop)


@TRANSFORMS.register_module()
class CenterCrop:
    """Cuts out the central square of `size` pixels."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, frames: Frames, random: np.random.Generator) -> Frames:
        """Cuts the same square out of every frame."""
        room_y, room_x = _check_fits('CenterCrop', self.size, frames.shape[2], frames.shape[1])
        y, x = room_y // 2, room_x // 2
        return frames[:, y:y + self.size, x:x + self.size]


@TRANSFORMS.register_module()
class Flip:
    """Mirrors left and right with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, frames: Frames, random: np.random.Generator) -> Frames:
        """Mirrors all frames or none."""
        if random.random() >= self.p:
            return frames
        return mirrored(frames)


@TRANSFORMS.register_module()
class Brightness:
    """Adds U(-delta, delta) with probability `p`; clips to 0..255."""

    def __init__(self, p: float, delta: float) -> None:
        self.p, self.delta = p, delta

    def __call__(self, frames: Frames, random: np.random.Generator) -> Frames:
        """Shifts all frames alike."""
        if random.random() >= self.p:
            return frames
        return mapped(frames, _table(np.arange(256) + random.uniform(-self.delta, self.delta)))


@TRANSFORMS.register_module()
class Contrast:
    """Multiplies by exp U(-delta, delta) with probability `p`; clips to 0..255."""

    def __init__(self, p: float, delta: float) -> None:
        self.p, self.delta = p, delta

    def __call__(self, frames: Frames, random: np.random.Generator) -> Frames:
        """Scales all frames alike."""
        if random.random() >= self.p:
            return frames
        return mapped(frames, _table(np.arange(256) * np.exp(random.uniform(-self.delta, self.delta))))


def _table(results: np.ndarray, top: int = 255) -> np.ndarray:
    """Returns a function of uint8 values, given by its 256 results, rounded and clipped to 0..top."""
    return np.clip(np.rint(results), 0, top).astype(np.uint8)


@TRANSFORMS.register_module()
class HueSaturation:
    """With probability `p`, shifts hue by U(-hue, hue) and scales saturation by exp U(-saturation, saturation).

    Hue is OpenCV's 0..179 and is clipped there, as published, not wrapped.
    """

    def __init__(self, p: float, hue: float = 12, saturation: float = 0.1) -> None:
        self.p, self.hue, self.saturation = p, hue, saturation

    def __call__(self, frames: Frames, random: np.random.Generator) -> Frames:
        """Changes all frames alike."""
        if random.random() >= self.p:
            return frames
        shift, scale = random.uniform(-self.hue, self.hue), np.exp(random.uniform(-self.saturation, self.saturation))
        hue, saturation = _table(np.arange(256) + shift, top=179), _table(np.arange(256) * scale)
        if not isinstance(frames, np.ndarray):
            raise ConfigError('HueSaturation: works on frames in main memory; with data.decode.device, take '
                              'BatchHueSaturation of model.data_preprocessor.augments')
        return shift_hue(np.ascontiguousarray(frames), hue, saturation)


def shift_hue(frames: np.ndarray, hue: np.ndarray, saturation: np.ndarray) -> np.ndarray:
    """Maps hue and saturation of RGB frames uint8 (..., W, 3) through tables uint8 (256,), in OpenCV's 8-bit HSV."""
    table = np.stack([hue, saturation, np.arange(256, dtype=np.uint8)], axis=-1)[:, None]
    rows = frames.reshape(-1, *frames.shape[-2:])  # one picture, the frames below each other
    hsv = cv2.LUT(cv2.cvtColor(rows, cv2.COLOR_RGB2HSV), table)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).reshape(frames.shape)
