"""Whether a backend returns the frames that the index says, found out on the first file of each kind.

Some decoders are right about most files and silently wrong about some, always about the same kinds: a container, a
codec, open groups of pictures. A few frames are compared with those of the default backend, which is exact: is what
was returned frame i, or rather its neighbour? Another conversion of colours is no reason to fail, nor is hardware that
rounds otherwise.

Frames f and g are compared by their distance 1 - r(f, g), with r the correlation of their pixels, the colours each
taken for itself, so that neither brightness nor contrast matter. The distances of a returned frame to frame i and to
its neighbour j are set against the distance of those two:

    gain = (distance(f, j) - distance(f, i)) / distance(i, j)

which is 1 for frame i itself and -1 for frame j, whatever both differ by from f. Where frames i and j are alike,
nothing can be told, and the next file is tested again.
"""

from enum import Enum

import numpy as np

from fedvssl.video.errors import VideoDecodeError
from fedvssl.video.index import FrameIndex
from fedvssl.video.reader import FrameReader, Frames, Opening

Kind = tuple[str, str, str, bool]
"""Backend, container format, codec, and whether there are open groups of pictures."""

_FEWEST_FRAMES = 3  # one with two neighbours
_MOST_PIXELS = 1 << 16  # that are looked at
_STILL = 1e-3  # distance of two frames in which nothing moves but noise
_ANOTHER_PICTURE = 0.3  # distance that no conversion of colours explains
_GAIN = 0.5
_FLAT = 1.0  # standard deviation, in grey levels, of a picture that shows nothing


class Verdict(Enum):
    """What a self-test found."""

    RIGHT = 'right'
    WRONG = 'wrong'
    UNKNOWN = 'unknown'


class SelfTest:
    """Tests backends, each on the first files of each kind, and remembers what it found. Can be used by threads.

    Two threads may test the same kind at the same time, on files of their own: no reader goes untested, and once one
    of them fails, the backend is out.
    """

    def __init__(self) -> None:
        self._found: dict[Kind, Verdict] = {}  # single operations on a dictionary need no lock, which a fork may break

    def check(self, reader: FrameReader) -> None:
        """Refuses the reader of a backend that returns other frames in files of this kind.

        Raises:
            VideoDecodeError: If it does, or cannot decode the frames that are looked at.
        """
        index = reader.index
        if index is None or index.frames < _FEWEST_FRAMES:
            return
        kind = (reader.backend, index.format, index.codec, index.open_gop)
        if self._found.get(kind) is None:
            verdict = examine(reader, index)
            if verdict is Verdict.WRONG:
                self._found[kind] = verdict
            elif verdict is Verdict.RIGHT:
                self._found.setdefault(kind, verdict)
        if self._found.get(kind) is Verdict.WRONG:
            raise VideoDecodeError(reader.path, reader.backend, 'it returns other frames than the frame index says in '
                                   f'files of this kind ({index.codec} in {index.format}); use pyav')


def examine(reader: FrameReader, index: FrameIndex) -> Verdict:
    """Compares some frames of a reader that has just been opened: where it has to seek, then near the start.

    Raises:
        VideoDecodeError: If the reader cannot decode them.
    """
    from fedvssl.video.readers.pyav import PyAVReader

    verdicts = []
    for numbers in [*_behind_a_seek(index), [1]]:
        returned = _array(reader.get(numbers))
        first = numbers[0] - 1
        try:
            with PyAVReader(reader.path, Opening(known=index)) as exact:
                expected = _array(exact.get(range(first, numbers[-1] + 2)))
        except Exception:  # whatever PyAV raises: the file is damaged here, so that there is nothing to compare with
            return Verdict.UNKNOWN
        for frame, number in zip(returned, numbers, strict=True):
            verdicts.append(compare(frame, expected[number - first - 1:number - first + 2]))
    if Verdict.WRONG in verdicts:
        return Verdict.WRONG
    # Without a seek nearly all decoders are right; and many videos start with black.
    return Verdict.RIGHT if Verdict.RIGHT in verdicts[:-1] else Verdict.UNKNOWN


def _behind_a_seek(index: FrameIndex) -> list[list[int]]:
    """Returns requests for frames with two neighbours each: somewhere, and around a key frame.

    There, decoders lose what an open group of pictures stores behind its key frame and displays before it.
    """
    number = min(2 * index.frames // 3, index.frames - 2)
    if not index.counted:
        key = int(np.searchsorted(index.pts, index.key_pts[index.starts[number]]))
        if 2 <= key <= index.frames - 2:
            return [[number], [key - 1, key]]
    return [[number]]


def compare(returned: np.ndarray, expected: np.ndarray) -> Verdict:
    """Says whether a frame (H, W, 3) is the middle one of three (3, H, W, 3)."""
    if returned.shape != expected.shape[1:]:
        return Verdict.WRONG
    before, right, after = (_normalised(frame) for frame in expected)
    frame = _normalised(returned)
    if not right.any():
        return Verdict.UNKNOWN
    away = _distance(frame, right)
    if away > _ANOTHER_PICTURE:
        return Verdict.WRONG
    apart = [_distance(other, right) for other in (before, after)]
    if min(apart) < _STILL:
        return Verdict.UNKNOWN
    gains = [(_distance(frame, other) - away) / between for other, between in zip((before, after), apart, strict=True)]
    return Verdict.RIGHT if min(gains) > _GAIN else Verdict.WRONG


def _normalised(frame: np.ndarray) -> np.ndarray:
    """Returns pixels (n, 3) of a frame with mean 0 and variance 1 in each colour; 0 where a colour is flat."""
    step = int(np.ceil(np.sqrt(frame.size / 3 / _MOST_PIXELS)))
    pixels = frame[::step, ::step].reshape(-1, 3).astype(np.float32)
    deviation = pixels.std(0)
    return (pixels - pixels.mean(0)) / np.where(deviation > _FLAT, deviation, np.inf)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return 1 - float(np.vdot(one, other)) / max(float(np.sqrt(np.vdot(one, one) * np.vdot(other, other))), 1.0)


def _array(frames: Frames) -> np.ndarray:
    return frames if isinstance(frames, np.ndarray) else frames.cpu().numpy()
