"""What all readers of image sets have in common: two splits, and a bound on how many images of each are taken."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from fedvssl.data.images.arrays import ImageArrays
from fedvssl.errors import ConfigError, DataListError

SPLITS = ('train', 'test')


class ImageReader(ABC):
    """Reads the splits of one set of images.

    Args:
        train_images: How many images to train on: the first of each class, equally many of all; None takes all.
        test_images: Likewise of the held-out ones.

    Raises:
        ConfigError: If a number is not positive.
    """

    def __init__(self, train_images: int | None = None, test_images: int | None = None) -> None:
        for name, count in (('train_images', train_images), ('test_images', test_images)):
            if count is not None and (type(count) is not int or count < 1):
                raise ConfigError(f'{type(self).__name__}: {name} is a number of images, 1 or more, not {count!r}')
        self._limits = dict(zip(SPLITS, (train_images, test_images), strict=True))

    def read(self, root: Path, split: str) -> ImageArrays:
        """Returns a split, ``train`` or ``test``.

        Args:
            root: Folder of the set.
            split: Which one.

        Raises:
            DataListError: If there is no such split, or its files are missing, damaged or wrong, naming them.
        """
        if split not in SPLITS:
            raise DataListError(f'{root}: images have the splits train and test, not {split!r}')
        return self._read(Path(root), split)

    @abstractmethod
    def files(self, root: Path) -> list[Path]:
        """Returns the files whose bytes decide what the set is, those that exist, in a fixed order.

        Raises:
            DataListError: If there is no such set below `root`.
        """

    @abstractmethod
    def _read(self, root: Path, split: str) -> ImageArrays:
        """Returns a split that is known to be called rightly."""

    def _rows(self, labels: np.ndarray, num_classes: int, split: str, source: Path) -> np.ndarray:
        """Returns the places of the images that are taken, ascending: all, or the first of each class.

        Args:
            labels: Labels of all images of the split, int64 (n,).
            num_classes: Number of classes of the set.
            split: Its name.
            source: Where they come from, for messages.
        """
        count = self._limits[split]
        if count is None:
            return np.arange(len(labels))
        if count % num_classes:
            raise ConfigError(f'{type(self).__name__}: {split}_images takes equally many images of each class, so it '
                              f'is a multiple of the {num_classes} classes of {source}, not {count}')
        rows = [np.flatnonzero(labels == label)[:count // num_classes] for label in range(num_classes)]
        for label, found in enumerate(rows):
            if len(found) < count // num_classes:
                raise DataListError(f'{source}: class {label} has {len(found)} images in {split!r}, fewer than the '
                                    f'{count // num_classes} of each that {split}_images={count} asks for')
        return np.sort(np.concatenate(rows))
