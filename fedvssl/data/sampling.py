"""Which frames of a video a sample takes: index arithmetic only, no pixels.

A sampler turns the number of frames N into a plan: indices (M, T) of M clips of T frames, and the pretext target if the
sampling itself makes one. Rules and golden values: CtP's and FedVSSL's published code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Protocol

import numpy as np

from fedvssl.data.description import Description
from fedvssl.errors import ConfigError
from fedvssl.registry import SAMPLERS


@dataclass(frozen=True)
class ClipPlan:
    """Frames to take: `indices` int64 (M, T), all within the video, and a self-made `target` or None."""

    indices: np.ndarray
    target: int | None = None


class Sampler(Protocol):
    """Anything that plans the clips of a video."""

    def __call__(self, num_frames: int, random: np.random.Generator) -> ClipPlan:
        """Plans the clips of a video of `num_frames` >= 1 frames."""


def mid_ticks(num_frames: int, span: int, count: int) -> np.ndarray:
    """Returns `count` clip starts in the middle of equal ticks: ⌊τ/2 + τx⌋, τ = (N - span + 1) / count.

    All zero when the video is shorter than the span (in frames) of one clip.
    """
    tick = max(num_frames - span + 1, 0) / count
    return (tick / 2 + tick * np.arange(count)).astype(np.int64)


def clip_indices(starts: np.ndarray, clip_length: int, stride: int, num_frames: int) -> np.ndarray:
    """Returns indices (M, T) of clips at `starts` (M,), clamped to the last frame."""
    indices = np.asarray(starts)[:, None] + stride * np.arange(clip_length)
    return np.minimum(indices, num_frames - 1)


def _require_positive(owner: str, **values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f'{owner}: {name} must be at least 1, not {value}')


@SAMPLERS.register_module()
class VCOPSampler:
    """A shuffled tuple of M clips of consecutive frames, `gap` frames apart; the target is the permutation.

        clip 0          clip 1          clip 2           M = 3, T = 4, gap = 2
        f f f f . . f f f f . . f f f f                  span = M T + (M - 1) gap = 16

    Position p of the tuple holds clip π(p); the target is π's index in lexicographic order, uniform. The tuple's start
    is uniform. A video shorter than the span gets the largest gap that fits, g = ⌊(N - M T) / (M - 1)⌋; where that is
    not positive, the clips sit at mid-ticks and overlap.

    Args:
        clip_length: Frames of a clip, T.
        num_clips: Clips of a tuple, M.
        gap: Frames between two clips.
    """

    def __init__(self, clip_length: int = 16, num_clips: int = 3, gap: int = 8) -> None:
        _require_positive('VCOPSampler', clip_length=clip_length)
        if num_clips < 2 or gap < 0:
            raise ConfigError(f'VCOPSampler: needs num_clips >= 2 and gap >= 0, not {num_clips} and {gap}')
        self.clip_length, self.num_clips, self.gap = clip_length, num_clips, gap
        self.permutations = list(permutations(range(num_clips)))
        self.classes = self.permutations

    def __call__(self, num_frames: int, random: np.random.Generator) -> ClipPlan:
        """Plans one shuffled tuple."""
        gap = min(self.gap, (num_frames - self.num_clips * self.clip_length) // (self.num_clips - 1))
        if gap > 0 or gap == self.gap:
            step = self.clip_length + gap
            span = step * self.num_clips - gap
            starts = random.integers(num_frames - span + 1) + step * np.arange(self.num_clips)
        else:
            starts = mid_ticks(num_frames, self.clip_length, self.num_clips)
        target = int(random.integers(len(self.permutations)))
        ordered = clip_indices(starts, self.clip_length, 1, num_frames)
        return ClipPlan(ordered[list(self.permutations[target])], target)

    def describe(self, target: np.ndarray) -> Description:
        """Names the permutation, and the clip at each position of the tuple."""
        order = self.permutations[int(target)]
        return Description(f'clip order {" ".join(map(str, order))} (class {int(target)})',
                           tuple(f'clip {clip}' for clip in order))


@SAMPLERS.register_module()
class RandomClipSampler:
    """One or several clips, each with a uniform random start, for fine-tuning (published: 16 frames, stride 2), CtP,
    Rot3D (strides 1 to 5, jittered) and video MoCo (two clips, strides 1 to 4, jittered).

        f . f . f . f      T = 4, stride 2: span = (T - 1) stride + 1 = 7
        f . . f f . . f    jitter moves each frame by 0..stride - 1, here 0, 1, 0, 1

    The start is uniform over all that fit, jitter apart; frames beyond the video's end are its last frame.

    Args:
        clip_length: Frames of a clip, T.
        stride: Distance of neighbouring frames, or several to choose from uniformly, clip by clip.
        jitter: Whether each frame moves by U{0..stride - 1}.
        num_clips: Clips of a sample, M, drawn independently.
    """

    def __init__(self, clip_length: int = 16, stride: int | Sequence[int] = 2, jitter: bool = False,
                 num_clips: int = 1) -> None:
        strides = [stride] if isinstance(stride, int) else list(stride)
        _require_positive('RandomClipSampler', clip_length=clip_length, num_clips=num_clips,
                          stride=min(strides, default=0))
        self.clip_length, self.strides, self.jitter, self.num_clips = clip_length, strides, jitter, num_clips

    def __call__(self, num_frames: int, random: np.random.Generator) -> ClipPlan:
        """Plans the clips; a short video starts at 0."""
        return ClipPlan(np.stack([self._clip(num_frames, random) for _ in range(self.num_clips)]))

    def _clip(self, num_frames: int, random: np.random.Generator) -> np.ndarray:
        stride = self.strides[random.integers(len(self.strides))] if len(self.strides) > 1 else self.strides[0]
        start = _uniform_start(num_frames, self.clip_length, stride, random)
        indices = start + stride * np.arange(self.clip_length)
        if self.jitter and stride > 1:
            indices += random.integers(stride, size=self.clip_length)
        return np.minimum(indices, num_frames - 1)


def _uniform_start(num_frames: int, clip_length: int, stride: int, random: np.random.Generator) -> int:
    """Returns a uniform start of a clip that fits, or 0."""
    span = (clip_length - 1) * stride + 1
    return int(random.integers(max(num_frames - span, 0) + 1))


@SAMPLERS.register_module()
class SpeedSampler:
    """One clip at a random playback rate; the target is the rate's place in the list.

    A negative stride shows the same frames backwards, and stride 0 one frame T times. The start is uniform over all
    that fit; frames beyond the video's end are its last frame.

    Args:
        clip_length: Frames of the clip, T.
        strides: Playback rates, in frames of the video per frame of the clip.
    """

    def __init__(self, clip_length: int = 16, strides: Sequence[int] = (-4, -2, -1, 0, 1, 2, 4)) -> None:
        _require_positive('SpeedSampler', clip_length=clip_length)
        if len(set(strides)) != len(strides) or len(strides) < 2:
            raise ConfigError(f'SpeedSampler: strides must be at least two different numbers, not {list(strides)}')
        self.clip_length, self.strides = clip_length, list(strides)
        self.classes = self.strides

    def __call__(self, num_frames: int, random: np.random.Generator) -> ClipPlan:
        """Plans one clip."""
        target = int(random.integers(len(self.strides)))
        pace = abs(self.strides[target])
        start = _uniform_start(num_frames, self.clip_length, pace, random)
        indices = clip_indices(np.array([start]), self.clip_length, pace, num_frames)
        return ClipPlan(indices[:, ::-1] if self.strides[target] < 0 else indices, target)

    def describe(self, target: np.ndarray) -> Description:
        """Names the playback rate."""
        return Description(f'stride {self.strides[int(target)]} (class {int(target)})')


@SAMPLERS.register_module()
class MidTickSampler:
    """Evenly spread clips for testing (published: 10 clips of 16 frames, stride 2).

    Starts lie in the middle of equal ticks; mmaction2's test sampler spreads them from the first to the last frame.

    Args:
        clip_length: Frames of a clip, T.
        stride: Distance of neighbouring frames.
        num_clips: Clips of a video, M.
    """

    def __init__(self, clip_length: int = 16, stride: int = 2, num_clips: int = 10) -> None:
        _require_positive('MidTickSampler', clip_length=clip_length, stride=stride, num_clips=num_clips)
        self.clip_length, self.stride, self.num_clips = clip_length, stride, num_clips

    def __call__(self, num_frames: int, random: np.random.Generator) -> ClipPlan:
        """Plans the clips; nothing is random."""
        starts = mid_ticks(num_frames, self.clip_length * self.stride, self.num_clips)
        return ClipPlan(clip_indices(starts, self.clip_length, self.stride, num_frames))
