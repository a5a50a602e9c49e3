"""Which backends there are, and which one `auto` takes."""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from fedvssl.errors import ConfigError, suggest
from fedvssl.video.errors import BackendUnavailableError, VideoDecodeError, describe
from fedvssl.video.reader import FrameReader

BACKENDS: Mapping[str, str] = MappingProxyType({
    'pyav': 'fedvssl.video.pyav:PyAVReader',
    'decord': 'fedvssl.video.decord:DecordReader',
})
"""Name of each backend and where its reader lives; nothing is imported before it is used."""

AUTO = 'auto'
DEFAULT_TIMEOUT = 20.0


def open_video(path: str | os.PathLike[str], backend: str = AUTO, *, timeout: float = DEFAULT_TIMEOUT) -> FrameReader:
    """Opens a video.

    Args:
        path: The file.
        backend: One of `BACKENDS`, or ``'auto'``, which never takes decord (it is wrong on some files, and hangs on
            others).
        timeout: Seconds after which a backend that runs in a process of its own is killed. The others ignore it.

    Raises:
        VideoDecodeError: If the file cannot be used, for whatever cause.
        BackendUnavailableError: If the backend's library is missing.
        ConfigError: If there is no such backend.
        ValueError: If `timeout` is not positive.
    """
    if backend != AUTO and backend not in BACKENDS:
        raise ConfigError(f'no video backend {backend!r}{suggest(backend, [AUTO, *BACKENDS])}')
    if not timeout > 0:
        raise ValueError(f'timeout must be positive, not {timeout!r}')
    path = Path(path)
    name = _choose(path) if backend == AUTO else backend
    module, _, reader = BACKENDS[name].partition(':')
    reader_class = getattr(importlib.import_module(module), reader)
    try:
        return reader_class(path, timeout)
    except (VideoDecodeError, BackendUnavailableError):
        raise
    except Exception as error:  # the decoders raise a dozen unrelated types for damaged files
        raise VideoDecodeError(path, name, describe(error)) from error


def _choose(path: Path) -> str:
    """Returns the backend that `auto` takes for a file; cheaper ones for prepared files will be chosen here."""
    return 'pyav'
