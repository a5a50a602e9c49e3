"""Whether a loader returned the frames that it was asked for, whatever it did to their pixels."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_SIDE = 28  # samples of the shorter side of a frame that are compared
_MARGIN = 0.1  # grey levels of 255 that the wanted frame may be further away than the nearest


def _unchanged(frames: np.ndarray) -> np.ndarray:
    return frames


@dataclass(frozen=True)
class Shown:
    """What a loader returned.

    Attributes:
        frames: uint8 (T, H, W, 3).
        indices: Number of the frame that each of them should be (T,).
        transform: What became of frames (1, H', W', 3) on their way.
    """

    frames: np.ndarray
    indices: np.ndarray
    transform: Callable[[np.ndarray], np.ndarray] = _unchanged


def wrong_frames(video: Iterable[np.ndarray], shown: Sequence[Shown]) -> int:
    """Counts the frames that some other frame of the video is nearer to than the one that was asked for.

    Nearness is the mean absolute difference of pixels. Decoders differ by a grey level or two in how they convert
    colours, and where a picture stands still, neighbours are as good as each other.

    Args:
        video: All frames (H', W', 3) of the video, in order.
        shown: What was returned of it.
    """
    samples = [_sampled(clip.frames) for clip in shown]
    distances: list[list[np.ndarray]] = [[] for _ in shown]
    for frame in video:
        for clip, sample, known in zip(shown, samples, distances, strict=True):
            expected = _sampled(clip.transform(frame[None]))
            known.append(np.abs(sample - expected).mean(axis=(1, 2, 3)))
    return sum(_count(np.stack(known), clip.indices) for clip, known in zip(shown, distances, strict=True))


def _count(distances_NT: np.ndarray, indices_T: np.ndarray) -> int:
    there = indices_T < len(distances_NT)
    wanted = distances_NT[np.where(there, indices_T, 0), np.arange(len(indices_T))]
    return int(np.sum(~there | (wanted > distances_NT.min(axis=0) + _MARGIN)))


def _sampled(frames: np.ndarray) -> np.ndarray:
    step = max(min(frames.shape[1:3]) // _SIDE, 1)
    return frames[:, ::step, ::step].astype(np.int16)
