"""One video file, looked at as a whole: what it holds, what its container says, and whether every frame can be had.

The facts are measured against our own frame index, by the reader's own rules (damage is refused, not concealed). A
probe is slow and, on a bad file, may not return: it belongs into a process that can be killed (``probe_pool.py``).
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from fedvssl.video.backends import open_video
from fedvssl.video.container import BACKEND, VideoFile
from fedvssl.video.errors import BackendUnavailableError, VideoDecodeError, describe
from fedvssl.video.index import FrameIndex
from fedvssl.video.indexing import build_index
from fedvssl.video.probing.extent import missing_bytes
from fedvssl.video.probing.facts import Facts, Trouble
from fedvssl.video.probing.header import read_header, unevenness

Found = dict[str, Any]


class _TroubleError(Exception):
    """What makes a video useless."""

    def __init__(self, trouble: Trouble, reason: str) -> None:
        super().__init__(reason)
        self.trouble, self.reason = trouble, reason


def probe(path: Path, quick: bool = False) -> Facts:
    """Finds out about a video.

    Args:
        path: What `open_video` takes.
        quick: Whether to decode three frames only: the first, the middle and the last one.

    Raises:
        BackendUnavailableError: If a decoder is missing. Whatever is wrong with the file is among the facts.
    """
    found: Found = {'full': not quick}
    try:
        for more in _look_into_container(path, quick) if is_container(path) else _look_into_pictures(path, quick):
            found |= more
    except BackendUnavailableError:
        raise
    except _TroubleError as error:
        found |= {'trouble': error.trouble, 'reason': error.reason}
    except Exception as error:  # the decoders raise a dozen unrelated types for damaged files
        found |= {'trouble': Trouble.DAMAGED, 'reason': _reason(error)}
    return Facts(**found)


def is_container(path: Path) -> bool:
    """Whether a video is one file with a stream of packets, and not pictures in a directory or an archive."""
    return path.suffix.lower() != '.zip' and not path.is_dir()


def _look_into_container(path: Path, quick: bool) -> Iterator[Found]:
    yield {'backend': BACKEND, 'missing_bytes': missing_bytes(path)}
    with closing(_opened(path)) as video:
        header = read_header(video)
        yield {'hidden': header.hidden, 'cut_off': header.cut_off, 'declared': header.count}
        if not header.shown:
            raise _TroubleError(Trouble.NO_FRAMES, 'no video frames')
        video.rewind()
        index = build_index(video)
        yield {'frames': index.frames, 'declared': header.declared(index.frames), 'uneven': unevenness(index.pts)}
        if not quick:
            _decode_all(video, index)
    if quick:
        with open_video(path, BACKEND) as reader:
            reader.get(_three(len(reader)))


def _opened(path: Path) -> VideoFile:
    try:
        return VideoFile(path)
    except BackendUnavailableError:
        raise
    except Exception as error:
        raise _TroubleError(Trouble.UNDECODABLE, _reason(error)) from error


def _decode_all(video: VideoFile, index: FrameIndex) -> None:
    """Decodes a file from the first packet to the last.

    Raises:
        _TroubleError: If a frame is damaged, lost, or not of the size of the others.
    """
    wanted = set(index.pts.tolist())
    sizes = _Sizes()
    done = 0
    try:
        for frame in video.frames(index.packets):
            if index.counted or frame.pts in wanted:
                if frame.is_corrupt:
                    raise _TroubleError(Trouble.DAMAGED, f'frame {done} of {index.frames} is damaged')
                sizes.check(done, frame.width, frame.height)
                done += 1
    except _TroubleError:
        raise
    except Exception as error:
        raise _TroubleError(Trouble.DAMAGED, f'{done} of {index.frames} frames come out of the decoder, then '
                                             f'{_reason(error)}') from error
    if done < index.frames:
        raise _TroubleError(Trouble.DAMAGED, f'only {done} of {index.frames} frames come out of the decoder')


def _look_into_pictures(path: Path, quick: bool) -> Iterator[Found]:
    try:
        reader = open_video(path)
    except VideoDecodeError as error:
        raise _TroubleError(Trouble.UNDECODABLE, error.reason) from error
    with reader:
        count = len(reader)
        yield {'backend': reader.backend, 'frames': count}
        sizes = _Sizes()
        for number in _three(count) if quick else range(count):
            height, width = reader.get([number]).shape[1:3]
            sizes.check(number, width, height)


class _Sizes:
    """Compares the sizes of frames; a clip cannot be made of several."""

    def __init__(self) -> None:
        self._first: tuple[int, int] | None = None

    def check(self, number: int, width: int, height: int) -> None:
        self._first = self._first or (width, height)
        if self._first != (width, height):
            raise _TroubleError(Trouble.MIXED_SIZES, f'frame {number} is {width}x{height}, the first one '
                                                     f'{self._first[0]}x{self._first[1]}')


def _three(count: int) -> list[int]:
    return [0, count // 2, count - 1]


def _reason(error: Exception) -> str:
    if isinstance(error, VideoDecodeError):
        return error.reason
    words = getattr(error, 'strerror', None)  # without the number and the file's name
    return f'{type(error).__name__}: {words}' if words else describe(error)
