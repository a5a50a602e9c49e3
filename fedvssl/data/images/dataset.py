"""A set of images in memory, as the rest of the package sees it: a list of items, and batches of them.

An image has no file of its own. Its item is a `Video` whose path names split and place, ``train/00042``, so that
partitions, label subsets and results treat both alike. The pixels are one uint8 tensor on the device that computes; a
batch takes rows of it.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from json import dumps, loads
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedvssl.config import DataConfig
from fedvssl.data.annotations import Video
from fedvssl.data.images.arrays import ImageArrays
from fedvssl.errors import DataListError
from fedvssl.registry import IMAGES, build

KEPT = 4  # splits that a process keeps decoded


class ImageDataset:
    """Images of a list of items.

    Args:
        videos: The items.
        arrays: The split that they belong to.
        device: Where the pixels are to lie.

    Attributes:
        pixels: uint8 (n, H, W, 3).
        labels: int64 (n,), those of the items: -1 where they are withheld.
        bad, lost, read_by: As for `ClipDataset`; an image that is in memory cannot be bad.
    """

    sampler = None
    independent_clips = False

    def __init__(self, videos: Sequence[Video], arrays: ImageArrays, device: str = 'cpu') -> None:
        self.videos = list(videos)
        rows = np.array([video.line - 1 for video in self.videos])
        self.pixels = torch.from_numpy(arrays.pixels[rows]).to(device)
        self.labels = torch.tensor([video.label for video in self.videos], device=device)
        self.bad: dict[str, str] = {}
        self.lost: set[str] = set()
        self.read_by: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.videos)

    def batch(self, indices: np.ndarray, seed: int) -> dict[str, Any]:
        """Returns a batch.

        Args:
            indices: Which images, (B,).
            seed: Of what is drawn for the batch, 0..2^63 - 1.

        Returns:
            ``inputs`` uint8 (B, H, W, 3) and ``data_samples``: ``target`` int64 (B,), ``seed`` int64 ().
        """
        rows = torch.from_numpy(np.asarray(indices)).to(self.pixels.device)
        self.read_by['memory'] += len(rows)
        return dict(inputs=self.pixels[rows], data_samples=dict(target=self.labels[rows], seed=torch.tensor(seed)))

    def check_files(self, limit: float) -> None:
        """Nothing to check: they were read."""

    def check_bad(self, limit: float, total: int | None = None) -> None:
        """Nothing to check: they were read."""

    def close(self) -> None:
        """Nothing to end."""


def read_images(data: DataConfig, split: str | None) -> ImageArrays:
    """Returns a split of a config's images; a process decodes each but once.

    Raises:
        ConfigError: If the reader refuses its arguments.
        DataListError: If there is no such split, or the files are wrong.
    """
    if split is None:
        raise DataListError(f'{data.root}: a split of the images must be named, such as data.train.split=train')
    return _read(dumps(data.images, sort_keys=True), data.root, split, images_digest(data))


@lru_cache(maxsize=KEPT)
def _read(cfg: str, root: str, split: str, digest: str) -> ImageArrays:
    return build(IMAGES, loads(cfg), 'data.images').read(Path(root), split)


def read_items(data: DataConfig, split: str | None) -> list[Video]:
    """Returns one item for each image of a split, with its label; `line` counts them from 1."""
    labels = read_images(data, split).labels.tolist()
    return [Video(f'{split}/{place:05d}', label, {}, place + 1) for place, label in enumerate(labels)]


def split_of(item: Video) -> str:
    """Returns the split that an item is of."""
    return item.path.partition('/')[0]


def images_digest(data: DataConfig) -> str:
    """Returns the SHA-256 of the files that the images come from.

    Raises:
        DataListError: If there are none.
    """
    reader = build(IMAGES, data.images or {}, 'data.images')
    digest = sha256()
    root = Path(data.root)
    for file in reader.files(root):
        # With its folder, which may be what tells its class.
        name = file.relative_to(root) if file.is_relative_to(root) else file.name
        digest.update(f'{name} '.encode())
        digest.update(_file_digest(str(file), file.stat().st_mtime_ns, file.stat().st_size).encode())
    return digest.hexdigest()


@lru_cache(maxsize=1 << 16)
def _file_digest(file: str, changed: int, size: int) -> str:
    """Returns the SHA-256 of a file; read again only once it has changed."""
    return sha256(Path(file).read_bytes()).hexdigest()

