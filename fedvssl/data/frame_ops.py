"""The few operations on frames (F, H, W, 3) that transforms are made of, for arrays and for tensors on any device.

Arrays go through OpenCV, whose pixels are the published ones. Tensors, which frames are that were decoded on a GPU, get
the same geometry from torch; resized pixels differ by rounding, one grey level at most.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fedvssl.video import devices
from fedvssl.video.reader import Frames

if TYPE_CHECKING:
    import torch


def resized(frames: Frames, size: tuple[int, int]) -> Frames:
    """Resizes frames to (width, height), bilinearly, without smoothing first."""
    if not isinstance(frames, np.ndarray):
        return devices.resized(frames, size)
    result = np.empty((len(frames), size[1], size[0], 3), np.uint8)
    for frame, place in zip(frames, result, strict=True):
        cv2.resize(frame, size, dst=place, interpolation=cv2.INTER_LINEAR)
    return result


def mirrored(frames: Frames) -> Frames:
    """Mirrors left and right."""
    if not isinstance(frames, np.ndarray):
        return frames.flip(2)
    result = np.empty(frames.shape, np.uint8)
    for frame, place in zip(frames, result, strict=True):
        cv2.flip(frame, 1, dst=place)
    return result


def mapped(frames: Frames, table: np.ndarray) -> Frames:
    """Maps every value through a table uint8 (256,)."""
    if isinstance(frames, np.ndarray):
        return table[frames]
    from torch import from_numpy

    return from_numpy(table).to(frames.device)[frames.int()]


def stacked(samples: Sequence[Frames]) -> 'torch.Tensor':
    """Stacks arrays or tensors of one shape into a tensor with one more dimension in front."""
    import torch

    if isinstance(samples[0], np.ndarray):
        return torch.from_numpy(np.stack([np.asarray(sample) for sample in samples]))
    return torch.stack([torch.as_tensor(sample) for sample in samples])


def concatenated(clips: Sequence[Frames]) -> Frames:
    """Puts arrays or tensors one behind the other."""
    if isinstance(clips[0], np.ndarray):
        return np.concatenate([np.asarray(clip) for clip in clips])
    import torch

    return torch.cat([torch.as_tensor(clip) for clip in clips])
