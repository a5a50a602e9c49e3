"""Which backends ``auto`` tries for a video, and the reader that goes on to the next where one does not serve."""

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fedvssl.video.errors import BackendUnavailableError, VideoDecodeError
from fedvssl.video.index import FrameIndex
from fedvssl.video.reader import FrameReader, Frames, Size, Window, window_of

logger = logging.getLogger('fedvssl')

DEFAULT = 'pyav'

# MPEG-4 (XviD) is cheaper on the CPU than anything else, and nothing but a CPU has to be right about its frames.
_ON_GPU = frozenset({'h264', 'hevc', 'vp9', 'av1'})
# Not pyav-cuda: FFmpeg makes a CUDA context for every file it opens, which takes longer than decoding a clip here.
_GPU_BACKENDS = ('torchcodec-cuda',)


def on_cpu(path: Path) -> str:
    """Returns the backend that ``auto`` takes where no device is asked for."""
    try:
        if path.is_dir():
            return 'frames'
    except OSError:  # a name that is too long, say; the backend will report it
        return DEFAULT
    return 'zip-jpeg' if path.suffix.lower() == '.zip' else DEFAULT


def on_gpu(index: FrameIndex) -> list[str]:
    """Returns the backends that ``auto`` tries, in this order, for a file whose frames are wanted on a GPU."""
    return [*_GPU_BACKENDS, DEFAULT] if index.codec in _ON_GPU and not index.counted else [DEFAULT]


class Once:
    """Lets each key pass once in a process. Can be used by threads."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], object] = {}

    def __call__(self, *key: str) -> bool:
        """Whether a key is new."""
        mark = object()
        return self._seen.setdefault(key, mark) is mark


class FallingReader(FrameReader):
    """Reads with the first backend that serves. If it fails later on, the next one takes over for this video.

    Args:
        path: The file.
        names: Backends, in the order in which they are tried. What goes wrong with the last one is raised.
        open_with: Opens the file with one of them.
        once: Which warnings have been given.

    Raises:
        VideoDecodeError: If the last backend cannot read the file either.
        BackendUnavailableError: If it cannot run.
    """

    def __init__(self, path: Path, names: Sequence[str], open_with: Callable[[str], FrameReader], once: Once) -> None:
        super().__init__(path)
        self._left, self._open_with, self._once = list(names), open_with, once
        self._reader = self._next()

    def _next(self) -> FrameReader:
        while True:
            name = self._left.pop(0)
            try:
                reader = self._open_with(name)
            except (VideoDecodeError, BackendUnavailableError) as error:
                if not self._left:
                    raise
                self._warn(name, error)
            else:
                self.backend, self.index = reader.backend, reader.index
                return reader

    def __len__(self) -> int:
        return len(self._reader)

    def _decode(self, wanted: np.ndarray, size: Size | None) -> Frames:
        window: list[Window] = []

        def same_window(width: int, height: int) -> Window:
            """Asks once, though several backends may have to ask: the answer may be drawn by lot."""
            window[:] = window or [window_of(size, width, height)]
            return window[0]

        while True:
            try:
                return self._reader.get(wanted, same_window)
            except (VideoDecodeError, BackendUnavailableError) as error:
                if not self._left:
                    raise
                self._warn(self.backend, error)
            self._reader.close()
            self._reader = self._next()

    def _close(self) -> None:
        self._reader.close()

    def _warn(self, name: str, error: VideoDecodeError | BackendUnavailableError) -> None:
        """Says why a backend is passed over, once for each kind of reason."""
        kind = re.sub(r'[0-9]+', '#', error.reason.replace(str(self.path.absolute()), ''))
        if self._once(name, kind):
            remedy = f'; {error.remedy}' if isinstance(error, BackendUnavailableError) else ''
            how = ', which decodes on the CPU; frames are copied' if self._left[0] == DEFAULT else ''
            logger.warning('%s: video backend %r is passed over: %s%s. Next comes %r%s. (Said once for this reason.)',
                           self.path, name, error.reason, remedy, self._left[0], how)
