"""Which backends there are, and which one `auto` takes."""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from fedvssl.errors import ConfigError, suggest
from fedvssl.video.errors import BackendUnavailableError, VideoDecodeError, describe
from fedvssl.video.index_cache import IndexCache
from fedvssl.video.reader import FrameReader, Opening

BACKENDS: Mapping[str, str] = MappingProxyType({
    'pyav': 'fedvssl.video.pyav:PyAVReader',
    'decord': 'fedvssl.video.decord:DecordReader',
    'frames': 'fedvssl.video.frames:FolderReader',
    'zip-jpeg': 'fedvssl.video.frames:ZipReader',
})
"""Name of each backend and where its reader lives; nothing is imported before it is used."""

AUTO = 'auto'
DEFAULT = 'pyav'


def open_video(path: str | os.PathLike[str], backend: str = AUTO, *, timeout: float = Opening.timeout,
               indices: IndexCache | None = None) -> FrameReader:
    """Opens a video.

    Args:
        path: The file, or a folder of frames.
        backend: One of `BACKENDS`, or ``'auto'``: frames for a folder, zip-jpeg for a ``.zip``, else PyAV; never
            decord (it is wrong on some files, and hangs on others).
        timeout: Seconds after which a backend that runs in a process of its own is killed. The others ignore it.
        indices: Where frame indices are kept; without it, each is made anew.

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
    fitting = _choose(path)
    name = fitting if backend == AUTO else backend
    module, _, reader = BACKENDS[name].partition(':')
    reader_class = getattr(importlib.import_module(module), reader)
    known = indices.get(path) if indices is not None else None
    try:
        reader = reader_class(path, Opening(timeout, known))
    except BackendUnavailableError:
        raise
    except Exception as error:  # the decoders raise a dozen unrelated types for damaged files
        reason = error.reason if isinstance(error, VideoDecodeError) else describe(error)
        hint = f"; backend '{AUTO}' would take '{fitting}'" if fitting not in (name, DEFAULT) else ''
        raise VideoDecodeError(path, name, reason + hint) from error
    if indices is not None and known is None and reader.index is not None:
        indices.put(path, reader.index)
    return reader


def _choose(path: Path) -> str:
    """Returns the backend that `auto` takes."""
    try:
        if path.is_dir():
            return 'frames'
    except OSError:  # a name that is too long, say; the backend will report it
        return DEFAULT
    return 'zip-jpeg' if path.suffix.lower() == '.zip' else DEFAULT
