"""Which backends there are, and opening a video with one of them."""

import importlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from fedvssl.errors import ConfigError, suggest
from fedvssl.video import choice, devices
from fedvssl.video.errors import (
    NEEDS_RESOURCES,
    BackendUnavailableError,
    VideoDecodeError,
    describe,
    lacks_resources,
)
from fedvssl.video.image_table import ImageTable
from fedvssl.video.index import FrameIndex
from fedvssl.video.index_cache import IndexCache, signature_of
from fedvssl.video.indexing import index_of
from fedvssl.video.reader import FrameReader, Opening
from fedvssl.video.selftest import SelfTest

logger = logging.getLogger('fedvssl')

BACKENDS: Mapping[str, str] = MappingProxyType({
    'pyav': 'fedvssl.video.readers.pyav:PyAVReader',
    'pyav-cuda': 'fedvssl.video.readers.pyav_cuda:PyAVCudaReader',
    'torchcodec': 'fedvssl.video.readers.torchcodec:TorchCodecReader',
    'torchcodec-cuda': 'fedvssl.video.readers.torchcodec:TorchCodecCudaReader',
    'opencv': 'fedvssl.video.readers.opencv:OpenCVReader',
    'decord': 'fedvssl.video.readers.decord:DecordReader',
    'frames': 'fedvssl.video.readers.frames:FolderReader',
    'zip-jpeg': 'fedvssl.video.readers.zips:ZipReader',
})
"""Name of each backend and where its reader lives; nothing is imported before it is used."""

AUTO = 'auto'

_NEED_A_GPU = frozenset({'pyav-cuda', 'torchcodec-cuda'})
_DELIVER_ON_GPU = frozenset({'torchcodec-cuda'})
_EXACT = frozenset({'pyav', 'frames', 'zip-jpeg'})  # in all tests; the others test themselves on the files they meet

# What this process has found out about its backends, so that it is found out, and said, once.
_once = choice.Once()
_self_test = SelfTest()
_unavailable: dict[tuple[str, str], tuple[str, str]] = {}  # reason and remedy, by backend and device


def open_video(path: str | os.PathLike[str], backend: str = AUTO, *, timeout: float = Opening.timeout,
               indices: IndexCache | None = None, device: str = devices.CPU) -> FrameReader:
    """Opens a video.

    Args:
        path: The file, or a folder of frames.
        backend: One of `BACKENDS`, which then runs or raises; or ``'auto'``: frames for a folder, zip-jpeg for a
            ``.zip``, else PyAV. For a GPU, ``'auto'`` takes what decodes there, if that serves, else one of those
            three, whose frames are copied; the reader's ``backend`` says what really runs. Never decord, which hangs
            on some files. OpenCV and torchcodec, also on a GPU, conceal damage that PyAV refuses.
        timeout: Seconds after which a backend that runs in a process of its own is killed. The others ignore it.
        indices: Where frame indices are kept; without it, each is made anew.
        device: Where frames are wanted. On ``'cpu'`` they are arrays, on ``'cuda'`` or ``'cuda:N'`` tensors.

    Raises:
        VideoDecodeError: If the file cannot be used, for whatever cause.
        BackendUnavailableError: If the backend's library is missing.
        ConfigError: If there is no such backend or device, or one does not go with the other.
        ValueError: If `timeout` is not positive.
    """
    _check_arguments(backend, timeout, device)
    path = Path(path)
    fitting = choice.on_cpu(path)
    before = signature_of(path)
    opening = _opening(path, fitting, indices, timeout, device)
    if device != devices.CPU and backend == AUTO and fitting == choice.DEFAULT:
        reader = _open_for_device(path, opening)
    else:
        reader = _open_one(path, opening, fitting if backend == AUTO else backend)
    found = reader.table or reader.index
    if indices is not None and found is not None and found is not opening.known and found is not opening.table:
        indices.put(path, found, before)
    return reader


def _opening(path: Path, fitting: str, indices: IndexCache | None, timeout: float, device: str) -> Opening:
    """Returns how to open a file, with what is known of it."""
    if indices is None or fitting == 'frames':
        return Opening(timeout, device=device)
    if fitting == 'zip-jpeg':
        return Opening(timeout, table=indices.get(path, ImageTable), device=device)
    return Opening(timeout, known=indices.get(path, FrameIndex), device=device)


def _check_arguments(backend: str, timeout: float, device: str) -> None:
    if backend != AUTO and backend not in BACKENDS:
        raise ConfigError(f'no video backend {backend!r}{suggest(backend, [AUTO, *BACKENDS])}')
    if not timeout > 0:
        raise ValueError(f'timeout must be positive, not {timeout!r}')
    devices.check_name(device)
    if device != devices.CPU:
        devices.torch_device(device)
    elif backend in _NEED_A_GPU:
        raise ConfigError(f'video backend {backend!r} decodes on a GPU: set data.decode.device=cuda, not {device!r}')


def _open_for_device(path: Path, opening: Opening) -> FrameReader:
    """Opens a file with the first backend that serves, of those that are tried for a GPU."""
    try:
        index = opening.known or index_of(path)
    except (VideoDecodeError, BackendUnavailableError):
        raise
    except Exception as error:
        raise VideoDecodeError(path, choice.DEFAULT, describe(error)) from error
    open_with = partial(_open_if_available, path, replace(opening, known=index))
    return choice.FallingReader(path, choice.on_gpu(index), open_with, _once)


def _open_if_available(path: Path, opening: Opening, name: str) -> FrameReader:
    """As `_open_one`, without trying again what cannot run in this process: loading libraries in vain takes time."""
    key = (name, opening.device)
    if key in _unavailable:
        raise BackendUnavailableError(name, *_unavailable[key])
    try:
        return _open_one(path, opening, name)
    except BackendUnavailableError as error:
        if 'out of memory' not in error.reason:  # that may pass
            _unavailable[key] = (error.reason, error.remedy)
        raise


def _open_one(path: Path, opening: Opening, name: str) -> FrameReader:
    """Opens a video with one backend."""
    module, _, reader_name = BACKENDS[name].partition(':')
    try:
        reader_class = getattr(importlib.import_module(module), reader_name)
    except Exception as error:  # a broken OpenCV raises OSError as well
        remedy = NEEDS_RESOURCES if lacks_resources(error) else 'pip install opencv-python-headless'
        raise BackendUnavailableError(name, describe(error), remedy) from error
    try:
        reader: FrameReader = reader_class(path, opening)
        if name not in _EXACT:
            with _closed_on_error(reader):
                _self_test.check(reader)
    except BackendUnavailableError:
        raise
    except Exception as error:  # the decoders raise a dozen unrelated types for damaged files
        if lacks_resources(error):
            raise BackendUnavailableError(name, describe(error), NEEDS_RESOURCES) from error
        reason = error.reason if isinstance(error, VideoDecodeError) else describe(error)
        fitting = choice.on_cpu(path)
        hint = f"; backend '{AUTO}' would take '{fitting}'" if fitting not in (name, choice.DEFAULT) else ''
        raise VideoDecodeError(path, name, reason + hint) from error
    kind = f'{reader.index.codec} in {reader.index.format}' if reader.index is not None else 'pictures'
    if _once('runs', name, kind, opening.device):
        logger.info('%s: videos like this one (%s) are read with backend %r, for device %r', path, kind, name,
                    opening.device)
    if opening.device == devices.CPU or name in _DELIVER_ON_GPU:
        return reader
    return devices.UploadingReader(reader, devices.torch_device(opening.device))


@contextmanager
def _closed_on_error(reader: FrameReader) -> Iterator[None]:
    try:
        yield
    except BaseException:
        reader.close()
        raise
