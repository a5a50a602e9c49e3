"""One video into one small file, whose frame k is the source's frame k; checked before anybody may take it.

    sequence ─► shrinking ─► writing ─► the file, opened anew: as many frames, and a few of them alike

It knows nothing of a set of videos. A decoder may hang on a bad file: this belongs into a process that can be killed
(``transcode_pool.py``).
"""

from collections.abc import Generator, Mapping
from pathlib import Path

import cv2
import numpy as np

from fedvssl.commit import fsync
from fedvssl.errors import FedVSSLError
from fedvssl.video.backends import open_video
from fedvssl.video.container import BACKEND, load_av
from fedvssl.video.errors import VideoDecodeError
from fedvssl.video.index import FrameIndex
from fedvssl.video.pixels import to_rgb
from fedvssl.video.transcoding.encoding import Encoding
from fedvssl.video.transcoding.sequence import Sequence, open_sequence, words
from fedvssl.video.transcoding.shrinking import Shrinker
from fedvssl.video.transcoding.writing import open_writer, storing

# Pictures are compared at a glance: at a size at which a codec's losses average out, but not what it is a picture of.
# The mean absolute difference is then about 1 level of 255 at the default qualities, up to 10 at the worst ones; a grey
# picture or one of another scene is 20 and more away.
_GLANCE = (16, 12)
_MOST_DIFFERENCE = 15.0

Steps = Generator[tuple[int, int], None, FrameIndex | None]
"""Yields how many frames are done and how many there are, and returns the index of the new file, if it has one."""


def transcode(source: Path, target: Path, encoding: Encoding) -> Steps:
    """Makes a small file of a video; at the end it is on the disk, and has been read back.

    Args:
        source: What `open_video` takes.
        target: The file to write, of the suffix that the encoding asks for. Gone if something goes wrong.
        encoding: How to store the frames.

    Raises:
        VideoDecodeError: If the source cannot be used, or what was written is not what it should be.
        StorageError: If it cannot be written.
        BackendUnavailableError: If a decoder or an encoder is missing.
    """
    finished = False
    try:
        index = yield from _transcode(source, target, encoding)
        finished = True
        return index
    except FedVSSLError:
        raise
    except Exception as error:  # decoders and encoders raise a dozen unrelated types
        raise VideoDecodeError(source, BACKEND, words(error)) from error
    finally:
        if not finished:
            target.unlink(missing_ok=True)


def _transcode(source: Path, target: Path, encoding: Encoding) -> Steps:
    with open_sequence(source) as sequence:
        yield 0, sequence.frames
        kept = yield from _written(sequence, target, encoding)
        with storing(target), target.open('rb') as file:
            fsync(file.fileno())
        return _verified(source, target, encoding, sequence.frames, kept)


def _written(sequence: Sequence, target: Path,
             encoding: Encoding) -> Generator[tuple[int, int], None, dict[int, np.ndarray]]:
    """Writes all frames; returns the first, the middle and the last one as they were put in, in RGB."""
    shrink, reformatter = Shrinker(encoding.short_side), load_av().video.reformatter.VideoReformatter()
    kept = {}
    with open_writer(target, encoding, sequence.rate) as writer:
        for number, picture in enumerate(sequence):
            frame = encoding.converted(shrink(picture))
            if number in (0, sequence.frames // 2, sequence.frames - 1):
                kept[number] = to_rgb(frame, reformatter)
            writer.add(frame)
            yield number + 1, sequence.frames
    return kept


def _verified(source: Path, target: Path, encoding: Encoding, frames: int,
              kept: Mapping[int, np.ndarray]) -> FrameIndex | None:
    """Reads a file back and returns its index.

    Raises:
        VideoDecodeError: If it has another number of frames, or shows something else than was put in.
    """
    def wrong(what: str) -> VideoDecodeError:
        return VideoDecodeError(source, BACKEND, f'what was written of it {what}')

    try:
        with open_video(target, 'zip-jpeg' if encoding.format == 'jpeg-zip' else BACKEND) as reader:
            count, index = len(reader), reader.index
            shown = np.asarray(reader.get(sorted(kept))) if count == frames else np.empty(0)
    except VideoDecodeError as error:
        raise wrong(f'cannot be read back: {error.reason}') from error
    if count != frames:
        raise wrong(f'has {count} frames instead of {frames}')
    if index is not None and (index.counted or encoding.gop == 1 and not index.every_frame_is_key):
        raise wrong(f'is not indexed as it should be ({index.counted_because or "not all are key frames"})')
    for number, picture in zip(sorted(kept), shown, strict=True):
        if picture.shape != kept[number].shape:
            raise wrong(f'is {picture.shape[1]}x{picture.shape[0]} in size')
        difference = float(np.abs(_glance(picture) - _glance(kept[number])).mean())
        if difference > _MOST_DIFFERENCE:
            raise wrong(f'shows something else in frame {number} (mean difference {difference:.0f} of 255)')
    return index


def _glance(picture: np.ndarray) -> np.ndarray:
    width, height = min(_GLANCE[0], picture.shape[1]), min(_GLANCE[1], picture.shape[0])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.int16)
