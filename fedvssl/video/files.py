"""What may be opened as a video file."""

import stat
from pathlib import Path

from fedvssl.video.errors import VideoDecodeError, describe


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
