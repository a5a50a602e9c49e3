"""The frame index as plain numbers; how it is made: ``indexing.py``, how it is kept: ``index_cache.py``."""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from fedvssl.video.packing import packed, unpacked

_ARRAYS = ('pts', 'positions', 'starts', 'key_pts', 'key_positions')
# These have tables of their samples. Elsewhere (MPEG-TS, MPEG-PS) libavformat guesses where it lands and what time it
# is there.
_SEEKABLE_FORMATS = frozenset({'mov,mp4,m4a,3gp,3g2,mj2', 'matroska,webm', 'avi'})
_MOST_FRAMES = 1 << 24  # of a video whose index is kept: 77 hours at 60 Hz


@dataclass(frozen=True)
class FrameIndex:
    """The frames of one video.

    Attributes:
        frames: How many there are.
        packets: How many packets to give to the decoder.
        format: Names of the container format.
        codec: Name of the codec.
        stream: Which of the file's video streams it is, from 0.
        width: Of the frames as they are stored, before any rotation.
        height: Likewise.
        tick: Seconds from one timestamp to the next.
        start: Timestamp at which the container says its video starts; decoders that tell times count from there.
        strict: Whether the decoder is to refuse what it could only conceal; not where a stream was cut out of another.
        counted_because: Why the frames have to be counted; empty where timestamps name them. If not empty, all arrays
            are.
        pts: Timestamp of each frame, ascending (frames,).
        positions: Position of each frame's packet in the file (frames,).
        starts: For each frame, the last key frame from which it can be decoded, as a number into `key_pts` (frames,).
        key_pts: Timestamps of the key frames, ascending (keys,).
        key_positions: Positions of their packets, ascending (keys,).
    """

    frames: int
    packets: int
    format: str
    codec: str
    stream: int
    width: int
    height: int
    tick: float
    start: int
    strict: bool
    counted_because: str
    pts: np.ndarray
    positions: np.ndarray
    starts: np.ndarray
    key_pts: np.ndarray
    key_positions: np.ndarray

    @property
    def counted(self) -> bool:
        """Whether the frames have to be counted."""
        return bool(self.counted_because)

    @property
    def seconds(self) -> np.ndarray:
        """When each frame is displayed (frames,), counted from timestamp 0; empty where frames are counted."""
        return self.pts * self.tick

    @property
    def seekable(self) -> bool:
        """Whether one can go to a key frame, and know that one is there."""
        return not self.counted and self.format in _SEEKABLE_FORMATS

    @property
    def every_frame_is_key(self) -> bool:
        """Whether any frame can be decoded without the others. False where frames are counted."""
        return not self.counted and len(self.key_pts) == self.packets == self.frames

    @property
    def open_gop(self) -> bool:
        """Whether a frame that is displayed before a key frame is stored behind it, and may need what came before.

        Always false where frames are counted.
        """
        nearest = np.searchsorted(self.key_positions, self.positions, side='right') - 1
        return bool(np.any(nearest != self.starts))

    def to_bytes(self) -> bytes:
        """Returns the index in some hundred bytes."""
        header: dict[str, Any] = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return packed(header, [header.pop(name) for name in _ARRAYS])

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Returns the index that `to_bytes` wrote.

        Raises:
            ValueError: If it is damaged, as far as that can be seen.
        """
        header, arrays = unpacked(data)
        types = {spec.name: spec.type for spec in fields(cls) if spec.name not in _ARRAYS}
        if {name: type(value) for name, value in header.items()} != types or len(arrays) != len(_ARRAYS):
            raise ValueError('not a frame index')
        lengths = [len(array) for array in arrays]
        frames, keys = (header['frames'], lengths[3]) if not header['counted_because'] else (0, 0)
        if lengths != [frames, frames, frames, keys, keys] or not 0 < header['frames'] <= _MOST_FRAMES or (
                keys > header['packets'] or header['packets'] > _MOST_FRAMES):
            raise ValueError(f'lengths {lengths} do not fit')
        values: dict[str, Any] = {**header, **dict(zip(_ARRAYS, arrays, strict=True))}
        index = cls(**values)
        index._check()
        return index

    def _check(self) -> None:
        if not 0 < self.tick < np.inf:
            raise ValueError(f'a tick that cannot be: {self.tick} s')
        if self.counted:
            return
        rising = all(len(array) and np.all(np.diff(array) > 0) for array in (self.pts, self.key_pts,
                                                                             self.key_positions))
        if not (rising and _within(self.starts, len(self.key_pts)) and _within(self.positions, self.packets)
                and _within(self.key_positions, self.packets)):
            raise ValueError('numbers that cannot be')


def _within(numbers: np.ndarray, count: int) -> bool:
    return bool(numbers.min() >= 0 and numbers.max() < count)
