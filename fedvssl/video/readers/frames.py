"""Videos that are stored as numbered images, and a folder of raw frames as one of them (a zip: ``zips.py``).

Frame i is the i-th image by number; numbers start at 0 or 1 and have no gaps.
"""

import io
import os
import stat
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fedvssl.video.errors import VideoDecodeError, describe
from fedvssl.video.pixels import FrameStack
from fedvssl.video.reader import FrameReader, Opening, Size
from fedvssl.video.readers.images import check_size, decode_image, in_order


class StoredFrames(FrameReader):
    """Reads a video of which each frame is an image with a name."""

    def _arrange(self, names: Iterable[str]) -> None:
        """Says which images there are; the others in `names` do not count."""
        try:
            self._names = in_order(names)
        except ValueError as error:
            raise self._refused(str(error)) from error

    @abstractmethod
    def _read(self, number: int) -> bytes:
        """Returns the image of a frame as it is stored, at most `MOST_IMAGE_BYTES`."""

    def __len__(self) -> int:
        return len(self._names)

    def _decode(self, wanted: np.ndarray, size: Size | None) -> np.ndarray:
        stack = FrameStack(len(wanted), size)
        for slot, number in enumerate(wanted):
            try:
                stack.put(slot, decode_image(self._read(int(number))))
            except Exception as error:  # zipfile, zlib and cv2 raise a dozen unrelated types
                reason = str(error) if type(error) is ValueError else describe(error)
                raise self._refused(f'{self._names[number]}: {reason}') from error
        return stack.array()

    def _refused(self, reason: str) -> VideoDecodeError:
        return VideoDecodeError(self.path, self.backend, reason)


class FolderReader(StoredFrames):
    """Reads a folder of raw frames. It holds no file open.

    Args:
        path: The folder. Links in it are not followed.
        opening: Unused: decoding a bounded image takes bounded time.

    Raises:
        VideoDecodeError: If it has no images, their numbering is not whole, or one of them is no regular file.
        OSError: If it is not a folder; `open_video` turns it into `VideoDecodeError`.
    """

    backend = 'frames'

    def __init__(self, path: Path, opening: Opening) -> None:
        super().__init__(path)
        with os.scandir(path) as entries:
            regular = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
        self._arrange(regular)
        for name in self._names:
            if not regular[name]:
                raise self._refused(f'{name} is not a regular file (links are not followed)')

    def _read(self, number: int) -> bytes:
        with io.FileIO(str(self.path / self._names[number]), opener=_open_cautiously) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError('not a regular file')
            check_size(status.st_size)
            return file.read(status.st_size)

    def _close(self) -> None:
        """Does nothing."""


def _open_cautiously(path: str, flags: int) -> int:
    """Opens a file that may have become a link or a FIFO since the folder was listed."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
