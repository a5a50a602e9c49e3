"""Pixel transforms on the CPU: all frames of a sample get the same random draw.

A transform is ``transform(frames, random) -> frames`` with frames (F, H, W, 3) uint8 RGB. The generator is an argument,
because mmcv's and mmaction2's transforms draw from global state (and their hue jitter overflows on numpy >= 2).
Geometry and colour follow CtP: cv2 bilinear, HSV with hue clipped (not wrapped) to 0..179.
"""

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from fedvssl.errors import ConfigError
from fedvssl.registry import TRANSFORMS


class Transform(Protocol):
    """Anything that maps the frames of a sample to frames."""

    def __call__(self, frames: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Maps uint8 frames (F, H, W, 3)."""


@TRANSFORMS.register_module()
class Resize:
    """Resizes every frame to one size.

    Args:
        size: An int is the new short side (aspect kept); a pair is exact (width, height), swapped for portrait videos.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = size

    def __call__(self, frames: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Resizes; nothing is random."""
        return _resized(frames, self.size)


@TRANSFORMS.register_module()
class RandomResize:
    """Resizes every frame to one of several sizes, chosen uniformly.

    Args:
        sizes: Sizes as `Resize` takes them.
    """

    def __init__(self, sizes: Sequence[int | Sequence[int]]) -> None:
        if not sizes:
            raise ConfigError('RandomResize: sizes must hold at least one size')
        self.sizes = list(sizes)

    def __call__(self, frames: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Resizes all frames alike."""
        return _resized(frames, self.sizes[random.integers(len(self.sizes))])


def _resized(frames: np.ndarray, size: int | Sequence[int]) -> np.ndarray:
    height, width = frames.shape[1:3]
    if isinstance(size, int):
        scale = size / min(height, width)
        target = (max(round(width * scale), size), max(round(height * scale), size))
    else:
        target = (size[0], size[1]) if width >= height else (size[1], size[0])
    if target == (width, height):
        return frames
    return np.stack([cv2.resize(frame, target, interpolation=cv2.INTER_LINEAR) for frame in frames])


def _check_fits(owner: str, size: int, frames: np.ndarray) -> tuple[int, int]:
    """Returns the room left beside a crop, (vertical, horizontal)."""
    height, width = frames.shape[1:3]
    if min(height, width) < size:
        raise ConfigError(f'{owner}: size {size} does not fit into {width}x{height} frames; put a Resize before it')
    return height - size, width - size


@TRANSFORMS.register_module()
class RandomCrop:
    """Cuts out a square of `size` pixels at a uniform random place."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, frames: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Cuts the same square out of every frame."""
        room_y, room_x = _check_fits('RandomCrop', self.size, frames)
        y, x = random.integers(room_y + 1), random.integers(room_x + 1)
        return frames[:, y:y + self.size, x:x + self.size]


@TRANSFORMS.register_module()
class CenterCrop:
    """Cuts out the central square of `size` pixels."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, frames: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Cuts the same square out of every frame."""
        room_y, room_x = _check_fits('CenterCrop', self.size, frames)
        y, x = room_y // 2, room_x // 2
        return frames[:, y:y + self.size, x:x + self.size]


@TRANSFORMS.register_module()
class Flip:
    """Mirrors left and right with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, frames: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Mirrors all frames or none."""
        return frames[:, :, ::-1] if random.random() < self.p else frames


@TRANSFORMS.register_module()
class Brightness:
    """Adds U(-delta, delta) with probability `p`; clips to 0..255."""

    def __init__(self, p: float, delta: float) -> None:
        self.p, self.delta = p, delta

    def __call__(self, frames: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Shifts all frames alike."""
        if random.random() >= self.p:
            return frames
        return _through_table(frames, np.arange(256) + random.uniform(-self.delta, self.delta))


@TRANSFORMS.register_module()
class Contrast:
    """Multiplies by exp U(-delta, delta) with probability `p`; clips to 0..255."""

    def __init__(self, p: float, delta: float) -> None:
        self.p, self.delta = p, delta

    def __call__(self, frames: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Scales all frames alike."""
        if random.random() >= self.p:
            return frames
        return _through_table(frames, np.arange(256) * np.exp(random.uniform(-self.delta, self.delta)))


def _through_table(values: np.ndarray, table: np.ndarray, top: int = 255) -> np.ndarray:
    """Maps uint8 values through a function given by its 256 results, rounded and clipped to 0..top."""
    return np.clip(np.rint(table), 0, top).astype(np.uint8)[values]


@TRANSFORMS.register_module()
class HueSaturation:
    """With probability `p`, shifts hue by U(-hue, hue) and scales saturation by exp U(-saturation, saturation).

    Hue is OpenCV's 0..179 and is clipped there, as published, not wrapped.
    """

    def __init__(self, p: float, hue: float = 12, saturation: float = 0.1) -> None:
        self.p, self.hue, self.saturation = p, hue, saturation

    def __call__(self, frames: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Changes all frames alike."""
        if random.random() >= self.p:
            return frames
        shift, scale = random.uniform(-self.hue, self.hue), np.exp(random.uniform(-self.saturation, self.saturation))
        hsv = np.stack([cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2HSV) for frame in frames])
        hsv[..., 0] = _through_table(hsv[..., 0], np.arange(256) + shift, top=179)
        hsv[..., 1] = _through_table(hsv[..., 1], np.arange(256) * scale)
        return np.stack([cv2.cvtColor(frame, cv2.COLOR_HSV2RGB) for frame in hsv])
