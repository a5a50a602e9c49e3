"""The clips of one sample: plan them, read their frames, transform them.

All that a sample's pixels depend on is here: the video, the sampler, the transforms, and one named random stream. So it
does not matter in which process it happens, see ``clip_pool.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from fedvssl import rng
from fedvssl.config import DecodeConfig
from fedvssl.data.annotations import resolve
from fedvssl.data.frame_ops import concatenated
from fedvssl.data.sampling import Sampler
from fedvssl.data.transforms import Transform, Windowed
from fedvssl.video import open_video
from fedvssl.video.index_cache import IndexCache
from fedvssl.video.reader import Frames


@dataclass(frozen=True)
class Clips:
    """What a sample shows.

    Attributes:
        pixels: uint8 (M, T, H, W, 3); a tensor where frames are decoded on a device.
        target: What the sampler made the pretext target, if it makes one.
        backend: The video reader that really ran.
    """

    pixels: Frames
    target: int | None
    backend: str


class ClipSource(Protocol):
    """Where a dataset gets its clips from."""

    def read(self, video: str, stream: int) -> Clips:
        """Reads one sample.

        Args:
            video: Path relative to the data root.
            stream: Seed of the sample's random stream.

        Raises:
            VideoDecodeError: If the video is unreadable.
            FedVSSLError: If something else is wrong, e.g. a crop that does not fit.
        """

    def close(self) -> None:
        """Gives back what it holds. Nothing can be read any more."""


class ClipReader:
    """Reads clips in the caller's thread. Can be pickled, and used by several threads.

    Args:
        root: Directory that paths are relative to.
        sampler: Plans the clips.
        transforms: Applied in order to all frames of a sample.
        decode: How frames get out of the files.
        independent_clips: Whether each clip of a sample is transformed by draws of its own; by default all clips of a
            sample share theirs.
    """

    def __init__(self, root: Path, sampler: Sampler, transforms: Sequence[Transform], decode: DecodeConfig,
                 independent_clips: bool = False) -> None:
        self.root = root
        self.sampler = sampler
        self.transforms = list(transforms)
        self.decode = decode
        self.independent_clips = independent_clips
        self._indices = IndexCache(root, root / decode.index) if decode.index is not None else None

    def read(self, video: str, stream: int) -> Clips:
        """Reads one sample; see `ClipSource`."""
        random = rng.of_stream(stream)
        with open_video(resolve(self.root, video), self.decode.backend, timeout=self.decode.timeout,
                        indices=self._indices, device=self.decode.device) as reader:
            plan = self.sampler(len(reader), random)
            distinct, places = np.unique(plan.indices, return_inverse=True)
            places_MT = places.reshape(plan.indices.shape)
            first = self.transforms[0] if self.transforms else None
            if isinstance(first, Windowed) and not self._one_by_one(places_MT):
                frames = reader.get(distinct, partial(first.window, random=random))
                return Clips(transformed(frames, places_MT, self.transforms[1:], random), plan.target, reader.backend)
            frames = reader.get(distinct)
        return Clips(self._clips(frames, places_MT, random), plan.target, reader.backend)

    def close(self) -> None:
        """Closes the cache of frame indices."""
        if self._indices is not None:
            self._indices.close()

    def _one_by_one(self, places_MT: np.ndarray) -> bool:
        return self.independent_clips and len(places_MT) > 1

    def _clips(self, frames: Frames, places_MT: np.ndarray,
               random: np.random.Generator) -> Frames:
        if not self._one_by_one(places_MT):
            return transformed(frames, places_MT, self.transforms, random)
        return concatenated([transformed(frames, places_T[None], self.transforms, random) for places_T in places_MT])


def transformed(frames: Frames, places_MT: np.ndarray, transforms: Sequence[Transform],
                 random: np.random.Generator) -> Frames:
    """Applies transforms to frames and makes clips of them; a frame that is shown twice is transformed once.

    Args:
        frames: Distinct frames (F, H, W, 3).
        places_MT: Which of them each clip shows.
        transforms: All frames get the same draws.
        random: Where the draws come from.

    Returns:
        Clips (M, T, H', W', 3).
    """
    shown, places = np.unique(places_MT, return_inverse=True)
    if len(shown) < len(frames):
        frames = frames[shown]
    for transform in transforms:
        frames = transform(frames, random)
    if np.array_equal(places.ravel(), np.arange(len(frames))):  # no frame twice, none out of order: spare the copy
        return frames.reshape(*places_MT.shape, *frames.shape[1:])
    return frames[places.reshape(places_MT.shape)]
