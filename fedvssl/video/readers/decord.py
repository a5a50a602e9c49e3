"""The decord backend: for comparison with what others published, never chosen automatically.

decord 0.6.0 is abandoned. It hangs for ever on some files with an edit list, numbers frames wrongly in open GOPs and in
transport streams, and counts frames that an edit list hides, always without a word. Here it runs in a process that is
killed when it is late, and what our frame index knows it to be wrong about is refused. One case the index does not
know: H.264 with periodic intra refresh, where decord is some frames late after a seek.
"""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from fedvssl.video.errors import BackendUnavailableError, VideoDecodeError
from fedvssl.video.index import FrameIndex
from fedvssl.video.indexing import index_for
from fedvssl.video.pixels import FrameStack
from fedvssl.video.processes.child import ChildGoneError, ChildProcess
from fedvssl.video.reader import FrameReader, Opening, Size

_NUMBERED_RIGHT = frozenset({'mov,mp4,m4a,3gp,3g2,mj2', 'matroska,webm', 'avi'})

_of_this_thread = threading.local()


class DecordReader(FrameReader):
    """Reads through decord in a child process that all readers of a thread share.

    Args:
        path: The file.
        opening: Its timeout is that of the child.

    Raises:
        VideoDecodeError: If the file is not a video, if decord cannot read it, or is known to number its frames
            wrongly, or does not answer in time.
        BackendUnavailableError: If decord (or PyAV, which makes the index) is missing.
    """

    backend = 'decord'

    def __init__(self, path: Path, opening: Opening) -> None:
        super().__init__(path)
        self._timeout = opening.timeout
        self.index: FrameIndex = index_for(path, opening.known, self.backend)
        if self.index.format not in _NUMBERED_RIGHT:
            raise self._refused(f'decord numbers the frames of {self.index.format} files wrongly; use pyav')
        if self.index.open_gop:
            raise self._refused('decord numbers frames wrongly after an open group of pictures; use pyav')
        self._ask([], 0)

    def __len__(self) -> int:
        return self.index.frames

    def _close(self) -> None:
        """Does nothing: the child serves the thread's next reader."""

    def _decode(self, wanted: np.ndarray, size: Size | None) -> np.ndarray:
        sizes = [(self.index.height, self.index.width, 3), (self.index.width, self.index.height, 3)]  # lying, upright
        header, pixels = self._ask(wanted.tolist(), len(wanted) * int(np.prod(sizes[0])))
        shape = tuple(header.get('shape', ()))
        if shape not in [(len(wanted), *size) for size in sizes] or pixels.size != np.prod(shape):
            raise self._refused(f'decord returns an array {shape} of another video stream or size')
        stack = FrameStack(len(wanted), size)
        for slot, frame in enumerate(pixels.reshape(shape)):
            stack.put(slot, frame)
        return stack.array()

    def _ask(self, indices: list[int], largest: int) -> tuple[dict[str, Any], np.ndarray]:
        # Where timestamps do not tell frames apart, decord gets lost when it seeks, and now and then returns the frame
        # before instead of the last one. Every request says everything, so that one that fails leaves nothing behind.
        message = {'path': str(self.path.absolute()), 'indices': indices, 'from_start': self.index.counted}
        try:
            header, pixels = _child().request(message, self._timeout, largest)
        except ChildGoneError as error:
            raise self._refused(str(error)) from error
        if 'unavailable' in header:
            raise BackendUnavailableError(self.backend, header['unavailable'], 'pip install decord')
        if 'error' in header:
            raise self._refused(header['error'])
        if header.get('frames') != self.index.frames:
            raise self._refused(f'decord counts {header.get("frames")} frames, the frame index {self.index.frames}; '
                                'use pyav')
        return header, pixels

    def _refused(self, reason: str) -> VideoDecodeError:
        return VideoDecodeError(self.path, self.backend, reason)


def _child() -> ChildProcess:
    """Returns the child of this thread; it is killed when the thread ends."""
    if not hasattr(_of_this_thread, 'child'):
        _of_this_thread.child = ChildProcess('fedvssl.video.readers.decord_child')
    return _of_this_thread.child
