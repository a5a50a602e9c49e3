"""A generated set of images: eight shapes in any colours, places, sizes and tilts, for demos and tests.

Neither colour nor place tells the class, so that comparing pixels is little better than chance, and a network has
something to learn.
"""

import math
from pathlib import Path

import cv2
import numpy as np

from fedvssl import rng
from fedvssl.data.images.arrays import ImageArrays
from fedvssl.data.images.reader import ImageReader
from fedvssl.errors import ConfigError
from fedvssl.registry import IMAGES

SHAPES = ('disc', 'ring', 'triangle', 'square', 'star', 'cross', 'bar', 'frame')
OVERSAMPLING = 4  # shapes are drawn this much larger, so that their edges are smooth
CONTRAST = 90  # least distance of foreground and background, on a scale of 0..255 a channel


@IMAGES.register_module()
class GeneratedImages(ImageReader):
    """Draws images of each shape in turn.

    Args:
        train_images: How many to train on.
        test_images: How many are held out.
        size: Height and width in pixels.
        seed: Of the set, which is the same for every seed of a run.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    def __init__(self, train_images: int = 800, test_images: int = 400, size: int = 32, seed: int = 0) -> None:
        super().__init__(train_images, test_images)
        if size < 8:
            raise ConfigError(f'GeneratedImages: size must be at least 8 pixels, not {size}')
        self.size, self.seed = size, seed

    def files(self, root: Path) -> list[Path]:
        """Returns nothing: no file decides what is drawn."""
        return []

    def _read(self, root: Path, split: str) -> ImageArrays:
        labels = np.arange(self._limits[split] or 0) % len(SHAPES)
        pixels = [draw(SHAPES[label], self.size, rng.generator(self.seed, 'image', split, place))
                  for place, label in enumerate(labels)]
        return ImageArrays(np.stack(pixels), labels.astype(np.int64), SHAPES)


def draw(shape: str, size: int, random: np.random.Generator) -> np.ndarray:
    """Returns one image, uint8 (size, size, 3)."""
    side = size * OVERSAMPLING
    radius = random.uniform(0.22, 0.38) * side
    centre = random.uniform(radius, side - radius, 2)
    mask = np.zeros((side, side), np.uint8)
    _paint(mask, shape, centre, radius, random.uniform(-0.35, 0.35))
    cover = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)[..., None] / 255
    front, back = _colours(random)
    noise = random.normal(0, 10, (size, size, 3))
    return np.clip(cover * front + (1 - cover) * back + noise, 0, 255).round().astype(np.uint8)


def _colours(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    while True:
        front, back = random.uniform(0, 255, (2, 3))
        if np.abs(front - back).mean() >= CONTRAST:
            return front, back


def _paint(mask: np.ndarray, shape: str, centre: np.ndarray, radius: float, tilt: float) -> None:
    """Paints a shape white."""
    middle, whole = tuple(int(place) for place in centre), int(radius)
    if shape in ('disc', 'ring'):
        cv2.circle(mask, middle, whole, 255, -1)
        if shape == 'ring':
            cv2.circle(mask, middle, whole * 6 // 10, 0, -1)
        return
    for corners, value in _polygons(shape):
        angles = np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
        points = np.asarray(corners) @ angles.T * radius + centre
        cv2.fillPoly(mask, [points.round().astype(np.int32)], value)


def _polygons(shape: str) -> list[tuple[list[tuple[float, float]], int]]:
    """Returns corners within a circle of radius 1 about 0, and what to fill them with."""
    if shape == 'triangle':
        return [(_corners(3), 255)]
    if shape == 'star':
        return [([point for outer, inner in zip(_corners(5), _corners(5, math.pi / 5, 0.4), strict=True)
                  for point in (outer, inner)], 255)]
    if shape == 'square':
        return [(_box(0.72, 0.72), 255)]
    if shape == 'frame':
        return [(_box(0.72, 0.72), 255), (_box(0.42, 0.42), 0)]
    if shape == 'bar':
        return [(_box(0.95, 0.28), 255)]
    return [(_box(0.95, 0.28), 255), (_box(0.28, 0.95), 255)]  # a cross


def _corners(count: int, turn: float = 0.0, radius: float = 1.0) -> list[tuple[float, float]]:
    angles = [2 * math.pi * number / count - math.pi / 2 + turn for number in range(count)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def _box(x: float, y: float) -> list[tuple[float, float]]:
    return [(-x, -y), (x, -y), (x, y), (-x, y)]
