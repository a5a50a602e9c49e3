"""All frames of a video in their order, one at a time: for whoever wants the whole of it.

Frame i is the i-th one of our frame index, as it is for readers, and their rules apply: a frame that is damaged, lost,
out of order or of another size than the first makes the video unusable.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Self, Union

import numpy as np

from fedvssl.video.backends import open_video
from fedvssl.video.container import BACKEND, VideoFile
from fedvssl.video.errors import VideoDecodeError, describe
from fedvssl.video.indexing import build_index
from fedvssl.video.probing.probe import is_container

if TYPE_CHECKING:
    import av

Picture = Union['av.VideoFrame', np.ndarray]
"""A frame as the decoder delivers it, its rotation flag not yet applied; or an upright RGB array (H, W, 3), uint8."""

DEFAULT_RATE = Fraction(25)  # of images, and of files that say nothing sensible
_RATES = (Fraction(1, 10), Fraction(1000))
_SAME_RATE = 0.005
_LARGEST_DENOMINATOR = 1001  # that of 30000/1001


class Sequence(ABC):
    """The frames of one video.

    Attributes:
        path: The file, or the folder of frames.
        frames: How many there are.
        rate: How many are shown in a second, on average.
    """

    def __init__(self, path: Path, frames: int, rate: Fraction) -> None:
        self.path, self.frames, self.rate = path, frames, rate

    @abstractmethod
    def __iter__(self) -> Iterator[Picture]:
        """Yields all frames.

        Raises:
            VideoDecodeError: If one of them cannot be had.
        """

    @abstractmethod
    def close(self) -> None:
        """Closes the video."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_sequence(path: Path) -> Sequence:
    """Opens a video of any kind that `open_video` reads.

    Raises:
        VideoDecodeError: If it cannot be used.
        BackendUnavailableError: If a decoder is missing.
        Exception: What PyAV raises for damaged files.
    """
    return _Packets(path) if is_container(path) else _Pictures(path)


class _Packets(Sequence):
    """A file with a stream of packets, decoded from the first to the last."""

    def __init__(self, path: Path) -> None:
        self._video = VideoFile(path)
        try:
            first = next(self._video.packets(), None)
            declared = first.stream.average_rate if first is not None else None
            self._video.rewind()
            self._index = build_index(self._video)
        except BaseException:
            self._video.close()
            raise
        tick = first.time_base if first is not None else None
        super().__init__(path, self._index.frames, _rate(self._index.pts, tick, declared))

    def __iter__(self) -> Iterator[Picture]:
        done, size, spoilt = 0, (0, 0), False
        wanted = set(self._index.pts.tolist())
        try:
            for frame in self._video.frames(self._index.packets):
                # What a decoder conceals it takes over into the next frames, and marks the first of them only.
                spoilt = frame.is_corrupt or spoilt and not frame.key_frame
                if not self._index.counted and frame.pts not in wanted:
                    continue
                size = size if done else (frame.width, frame.height)
                self._check(frame, done, size, spoilt)
                done += 1
                yield frame
        except VideoDecodeError:
            raise
        except Exception as error:  # the decoders raise a dozen unrelated types for damaged files
            raise self._refused(f'{done} of {self.frames} frames come out of the decoder, then '
                                f'{words(error)}') from error
        if done < self.frames:
            raise self._refused(f'only {done} of {self.frames} frames come out of the decoder')

    def _check(self, frame: 'av.VideoFrame', number: int, size: tuple[int, int], spoilt: bool) -> None:
        if spoilt:
            raise self._refused(f'frame {number} of {self.frames} is damaged')
        if not self._index.counted and frame.pts != self._index.pts[number]:
            raise self._refused(f'frame {number} of {self.frames} comes out of the decoder out of order')
        if (frame.width, frame.height) != size:
            raise self._refused(f'frame {number} is {frame.width}x{frame.height}, the first one {size[0]}x{size[1]}')

    def _refused(self, reason: str) -> VideoDecodeError:
        return VideoDecodeError(self.path, BACKEND, reason)

    def close(self) -> None:
        self._video.close()


class _Pictures(Sequence):
    """A folder or a zip of images."""

    def __init__(self, path: Path) -> None:
        self._reader = open_video(path)
        super().__init__(path, len(self._reader), DEFAULT_RATE)

    def __iter__(self) -> Iterator[Picture]:
        shape: tuple[int, ...] = ()
        for number in range(self.frames):
            image = np.asarray(self._reader.get([number])[0])
            shape = shape or image.shape
            if image.shape != shape:
                raise VideoDecodeError(self.path, self._reader.backend,
                                       f'frame {number} is {image.shape[1]}x{image.shape[0]}, the first one '
                                       f'{shape[1]}x{shape[0]}')
            yield image

    def close(self) -> None:
        self._reader.close()


def words(error: Exception) -> str:
    """Returns what an exception says, without the number and the path that PyAV's have."""
    if isinstance(error, VideoDecodeError):
        return error.reason
    text = getattr(error, 'strerror', None)
    return f'{type(error).__name__}: {text}' if text else describe(error)


def _rate(pts: np.ndarray, tick: Fraction | None, declared: Fraction | None) -> Fraction:
    """Returns the average rate, measured where frames have times; what is declared, if that is nearly the same."""
    rate = declared
    if len(pts) > 1 and tick:
        measured = (len(pts) - 1) / (int(pts[-1] - pts[0]) * tick)
        if not declared or abs(measured / declared - 1) > _SAME_RATE:
            rate = measured.limit_denominator(_LARGEST_DENOMINATOR)
    return rate if rate and _RATES[0] <= rate <= _RATES[1] else DEFAULT_RATE
