"""A set of images as arrays."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedvssl.errors import DataListError


@dataclass(frozen=True)
class ImageArrays:
    """Images and their labels, checked when they are put together.

    Attributes:
        pixels: uint8 (n, H, W, 3), RGB.
        labels: int64 (n,), counted from 0.
        classes: Names of the classes, in the order of the labels; may be empty.
        names: Name of each image; None where they have none.
        source: The file or folder they come from, for messages.

    Raises:
        DataListError: If shapes, types or lengths do not go together, or a label is out of its range.
    """

    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    source: Path | str = 'images'

    def __post_init__(self) -> None:
        self._check_pixels()
        self._check_labels()
        if self.names is not None and len(self.names) != len(self.pixels):
            raise DataListError(f'{self.source}: {len(self.names)} names for {len(self.pixels)} images')

    def _check_pixels(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
            raise DataListError(f'{self.source}: images are uint8 (n, height, width, 3), RGB, not {self.pixels.dtype} '
                                f'{shape}; convert them')
        if not self.pixels.size:
            raise DataListError(f'{self.source}: no images: {shape}')

    def _check_labels(self) -> None:
        if self.labels.dtype != np.int64 or self.labels.shape != self.pixels.shape[:1]:
            raise DataListError(f'{self.source}: labels are int64 ({len(self.pixels)},), one for each image, not '
                                f'{self.labels.dtype} {self.labels.shape}')
        bound = len(self.classes) or np.iinfo(np.int64).max
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= bound))
        if len(wrong):
            allowed = f'0..{bound - 1}' if self.classes else '0 or more'
            raise DataListError(f'{self.source}: image {wrong[0]} (counted from 0) has label {self.labels[wrong[0]]}; '
                                f'labels are {allowed}')
