"""The one interface through which everything else reads videos."""

import stat
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import numpy as np

from fedvssl.video.errors import BackendUnavailableError, VideoDecodeError, describe


class FrameReader(ABC):
    """An open video. Not thread-safe: a thread opens its own.

    A backend is a subclass with a constructor ``(path, timeout)`` that raises when the file cannot be used, and with
    `__len__`, `_decode` and `_close`; it is made known by one line in ``backends.py``. Arguments are checked, indices
    sorted and made unique, and foreign exceptions turned into `VideoDecodeError`, here, once for all of them.

    Attributes:
        path: The file, or the folder of frames.
        backend: Name of the backend that really runs.
    """

    backend: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path
        self._closed = False

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of frames that can be displayed (at least 1)."""

    @abstractmethod
    def _decode(self, wanted: np.ndarray) -> np.ndarray:
        """Decodes frames.

        Args:
            wanted: Frame numbers (n,), int64, ascending, unique, all in range.

        Returns:
            RGB frames (n, H, W, 3), uint8, upright.

        Raises:
            Exception: Of any type, when one of the frames cannot be had exactly.
        """

    @abstractmethod
    def _close(self) -> None:
        """Gives back what the reader holds."""

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns frames in the order asked for; a frame that is asked for twice is decoded once.

        Args:
            indices: Frame numbers, 0 <= index < len(reader), in any order, at least one.

        Returns:
            RGB frames (len(indices), H, W, 3), uint8. The rotation flag of the file has been applied.

        Raises:
            ValueError: If `indices` is empty, not made of integers, or out of range: the caller's mistake.
            VideoDecodeError: If a frame cannot be decoded exactly, for whatever cause; or if the reader is closed.
        """
        if self._closed:
            raise VideoDecodeError(self.path, self.backend, 'the reader is closed')
        wanted, order = np.unique(self._checked(indices), return_inverse=True)
        try:
            frames = self._decode(wanted)
        except (VideoDecodeError, BackendUnavailableError):
            raise
        except Exception as error:  # the decoders raise a dozen unrelated types for damaged files
            raise VideoDecodeError(self.path, self.backend, describe(error)) from error
        if np.array_equal(order, np.arange(len(wanted))):
            return frames
        return frames[order]

    def _checked(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        array = np.asarray(indices)
        if array.ndim != 1 or array.size == 0 or array.dtype.kind not in 'iu':
            raise ValueError(f'indices must be a non-empty flat sequence of integers, not {indices!r} ({self.path})')
        low, high, count = array.min(), array.max(), len(self)
        if low < 0 or high >= count:
            raise ValueError(f'indices {low}..{high} are outside of 0..{count - 1} ({self.path})')
        return array.astype(np.int64)

    def close(self) -> None:
        """Closes the video; may be called again."""
        if not self._closed:
            self._closed = True
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def check_regular_file(path: Path, backend: str) -> None:
    """Refuses what is not a regular file with something in it (opening a FIFO, say, would wait for ever).

    Raises:
        VideoDecodeError: If it is missing, empty, a directory, a FIFO, a device or a socket, or may not be looked at.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        missing = isinstance(error, FileNotFoundError)
        raise VideoDecodeError(path, backend, 'no such file' if missing else describe(error)) from error
    if not stat.S_ISREG(status.st_mode):
        kind = 'a directory' if stat.S_ISDIR(status.st_mode) else 'not a regular file'
        raise VideoDecodeError(path, backend, kind)
    if status.st_size == 0:
        raise VideoDecodeError(path, backend, 'the file is empty')
