"""What our loader is compared with: mmaction2's own classes on decord, and CtP's way with zips of JPEGs.

mmaction2's classes really run. CtP's code needs an mmcv of long ago; `PublishedZip` is a second implementation, written
from what that code does. Neither is used to train.
"""

import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from fedvssl.errors import ConfigError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Stock:
    """mmaction2's pipeline: decord with one thread, exact frames; resize, random crop, flip, NCTHW.

    Args:
        size: An int is the new short side; a pair is exact (width, height).
        crop: Side of the crop.
        flip: Whether to flip half of the clips.

    Raises:
        ConfigError: If mmaction2 or decord is missing.
    """

    def __init__(self, size: int | tuple[int, int], crop: int, flip: bool) -> None:
        try:
            import decord  # noqa: F401 - mmaction2 imports it when it opens the first file
            from mmaction.datasets import transforms
        except Exception as error:  # broken wheels raise OSError or RuntimeError as well
            raise ConfigError(f'the loader is compared with mmaction2 on decord, which cannot be imported ({error}); '
                              f'pip install mmaction2 mmcv-lite decord') from error
        self._decoding = [transforms.DecordInit(num_threads=1), transforms.DecordDecode(mode='accurate')]
        self._decoding[0].file_client = _file_client()
        scale = dict(scale=(-1, size)) if isinstance(size, int) else dict(scale=size, keep_ratio=False)
        self._geometry = [transforms.Resize(**scale), transforms.RandomCrop(crop),
                          *([transforms.Flip(flip_ratio=0.5)] if flip else []), transforms.FormatShape('NCTHW')]

    def load(self, path: Path, indices_MT: np.ndarray) -> np.ndarray:
        """Returns clips uint8 (M, 3, T, crop, crop); all their frames are decoded in one call."""
        results = self._decoded(path, indices_MT.ravel())
        return self._shaped(results, indices_MT.shape)

    def frames(self, path: Path, indices: np.ndarray) -> np.ndarray:
        """Returns decoded frames as they are."""
        return np.stack(self._decoded(path, indices)['imgs'])

    def transform(self, frames: np.ndarray) -> np.ndarray:
        """Returns one clip uint8 (1, 3, T, crop, crop) of decoded frames (T, H, W, 3)."""
        results = dict(imgs=list(frames), img_shape=frames.shape[1:3], modality='RGB')
        return self._shaped(results, (1, len(frames)))

    def _decoded(self, path: Path, indices: np.ndarray) -> dict[str, Any]:
        results: dict[str, Any] = dict(filename=str(path), frame_inds=indices, modality='RGB')
        for step in self._decoding:
            results = step(results)
        return results

    def _shaped(self, results: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
        results['num_clips'], results['clip_len'] = shape
        for step in self._geometry:
            results = step(results)
        return results['imgs']


def _file_client() -> Any:
    """Returns what mmaction2 would make itself, but says nothing of its being deprecated."""
    from mmengine.fileio import FileClient
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('ERROR')
    try:
        return FileClient('disk')
    finally:
        logger.setLevel(level)


class PublishedZip:
    """CtP's way with a zip, as in its VCOP: all frames to float32, then resized, cropped, and normalised.

    Args:
        size: Exact width and height.
        crop: Side of the crop, at one random place.
    """

    def __init__(self, size: tuple[int, int], crop: int) -> None:
        self._size, self._crop = size, crop
        self._random = np.random.default_rng(0)

    def load(self, path: Path, indices_MT: np.ndarray) -> Tensor:
        """Returns the network's input float32 (M, 3, T, crop, crop) of frames ``img_00001.jpg`` and so on."""
        images: list[Any] = [image.astype(np.float32) for image in _read_images(path, indices_MT.ravel())]
        images = [cv2.resize(image, self._size) for image in images]
        x, y = (int(self._random.integers(side - self._crop + 1)) for side in self._size)
        images = [np.ascontiguousarray(image[y:y + self._crop, x:x + self._crop]) for image in images]
        clip = _normalised(images)
        return clip.view(*indices_MT.shape, *clip.shape[1:]).transpose(1, 2).contiguous()

    def frames(self, path: Path, indices: np.ndarray) -> np.ndarray:
        """Returns decoded frames as they are, in RGB."""
        return np.stack(_read_images(path, indices))[..., ::-1]


def _read_images(path: Path, indices: np.ndarray) -> list[np.ndarray]:
    with zipfile.ZipFile(path) as file:
        count = len([name for name in file.namelist() if name.endswith('.jpg')])
        assert indices.max() < count
        return [_read_image(file, int(number)) for number in indices]


def _read_image(file: zipfile.ZipFile, number: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(file.read(f'img_{number + 1:05d}.jpg'), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def _normalised(images: list[np.ndarray]) -> Tensor:
    """Returns (T, 3, H, W) in RGB of BGR images (H, W, 3)."""
    clip = torch.tensor(np.stack(images)).permute(0, 3, 1, 2)
    clip = clip[:, [2, 1, 0]].contiguous().div_(255)
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        clip[:, channel].sub_(mean).div_(std)
    return clip
