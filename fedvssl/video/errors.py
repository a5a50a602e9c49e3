"""What can go wrong with a video, and what can go wrong with the installation: two different types."""

import errno
import os
from typing import Any

from fedvssl.errors import BadVideosError, ConfigError, FedVSSLError

# Not ENOMEM: damaged files have decoders ask for any amount of memory.
_AT_THE_END = frozenset({errno.EMFILE, errno.ENFILE})


class VideoDecodeError(FedVSSLError):
    """A video cannot be opened, or a frame of it cannot be decoded exactly.

    The only exception that a reader raises because of a file. It survives pickling, so that it can cross processes.

    Args:
        path: The file.
        backend: The backend that was asked.
        reason: What is wrong, in words.
    """

    exit_code = BadVideosError.exit_code

    def __init__(self, path: str | os.PathLike[str], backend: str, reason: str) -> None:
        super().__init__(f'{os.fspath(path)}: {reason} [backend {backend}]')
        self.path = os.fspath(path)
        self.backend = backend
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.backend, self.reason)


class DecoderLostError(VideoDecodeError):
    """The process that decoded a video was late and has been killed, or died.

    It need not happen again: how late is too late depends on what else the machine does.
    """


class BackendUnavailableError(FedVSSLError):
    """A backend's library is missing or does not load.

    Not a `VideoDecodeError`: no file is to blame, and replacing the sample by another one would not help.

    Args:
        backend: The backend that was asked.
        reason: Why it cannot run.
        remedy: What to do.
    """

    exit_code = ConfigError.exit_code

    def __init__(self, backend: str, reason: str, remedy: str) -> None:
        super().__init__(f'video backend {backend!r} cannot run: {reason}; {remedy}')
        self.backend = backend
        self.reason = reason
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.backend, self.reason, self.remedy)


NEEDS_RESOURCES = 'raise the limit of open files (ulimit -n), or run fewer workers'


def lacks_resources(error: BaseException) -> bool:
    """Whether an exception says that this process or the machine, not a file, is at its end."""
    return isinstance(error, OSError) and error.errno in _AT_THE_END


def describe(error: BaseException) -> str:
    """Returns an exception as one line: its type and the first line of its message."""
    lines = str(error).splitlines()
    return f'{type(error).__name__}: {lines[0]}' if lines else type(error).__name__
