"""The one interface through which everything else reads videos."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

import numpy as np

from fedvssl.errors import FedVSSLError
from fedvssl.video.errors import (
    NEEDS_RESOURCES,
    BackendUnavailableError,
    VideoDecodeError,
    describe,
    lacks_resources,
)
from fedvssl.video.image_table import ImageTable
from fedvssl.video.index import FrameIndex

if TYPE_CHECKING:
    import torch

Frames: TypeAlias = 'np.ndarray | torch.Tensor'
"""Frames (T, H, W, 3), RGB, uint8: an array, or a tensor where they are wanted on a device."""


@dataclass(frozen=True)
class Window:
    """A part of a frame, and the size it is resized to.

    Attributes:
        left: First column.
        top: First row.
        right: Column behind the last one.
        bottom: Row behind the last one.
        width: Of the result.
        height: Of the result.
    """

    left: int
    top: int
    right: int
    bottom: int
    width: int
    height: int


Size = tuple[int, int] | Callable[[int, int], 'tuple[int, int] | Window']
"""Width and height that frames are resized to, or what makes them, or a window, of those of an upright frame."""


def window_of(size: Size | None, width: int, height: int) -> Window:
    """Returns the part that is taken of upright frames. To be called once for a request: it may draw lots.

    Raises:
        ValueError: If it is no part of them, or the size is none.
    """
    wanted = size(width, height) if callable(size) else (width, height) if size is None else size
    window = wanted if isinstance(wanted, Window) else _whole(wanted, width, height)
    inside = 0 <= window.left < window.right <= width and 0 <= window.top < window.bottom <= height
    if not inside or min(window.width, window.height) < 1:
        raise ValueError(f'size: {window} is no part of frames of {width}x{height}, or has no pixels')
    return window


def _whole(wanted: object, width: int, height: int) -> Window:
    sides = list(wanted) if isinstance(wanted, tuple | list) else []
    if len(sides) != 2 or not all(isinstance(side, int | np.integer) for side in sides):
        raise ValueError(f'size: must be (width, height), a window, or a function that returns one, not {wanted!r}')
    return Window(0, 0, width, height, int(sides[0]), int(sides[1]))


@dataclass(frozen=True)
class Opening:
    """How a reader is to open its video.

    Attributes:
        timeout: Seconds after which a backend that runs in a process of its own is killed. The others ignore it.
        known: The frame index of the file, if it is at hand. Backends without one ignore it.
        table: The table of a zip's images, if it is at hand.
        device: Where the frames are wanted, ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
    """

    timeout: float = 20.0
    known: FrameIndex | None = None
    table: ImageTable | None = None
    device: str = 'cpu'


class FrameReader(ABC):
    """An open video. Not thread-safe: a thread opens its own.

    A backend is a subclass with a constructor ``(path, opening)`` that raises when the file cannot be used, and with
    `__len__`, `_decode` and `_close`; it is made known by one line in ``backends.py``. Arguments are checked, indices
    sorted and made unique, and foreign exceptions turned into `VideoDecodeError`, here, once for all of them.

    Attributes:
        path: The file, or the folder of frames.
        backend: Name of the backend that really runs.
        index: The frame index; None where a backend needs none.
        table: Of a zip, where its images are.
    """

    backend: str
    index: FrameIndex | None = None
    table: ImageTable | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._closed = False

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of frames that can be displayed (at least 1)."""

    @abstractmethod
    def _decode(self, wanted: np.ndarray, size: Size | None) -> Frames:
        """Decodes frames.

        Args:
            wanted: Frame numbers (n,), int64, ascending, unique, all in range.
            size: What they are resized to, if at all.

        Returns:
            RGB frames (n, H, W, 3), uint8, upright.

        Raises:
            BackendUnavailableError: When it is not the file that is at fault.
            Exception: Of any other type, when one of the frames cannot be had exactly.
        """

    @abstractmethod
    def _close(self) -> None:
        """Gives back what the reader holds."""

    def get(self, indices: Sequence[int] | np.ndarray, size: Size | None = None) -> Frames:
        """Returns frames in the order asked for; a frame that is asked for twice is decoded once.

        Args:
            indices: Frame numbers, 0 <= index < len(reader), in any order, at least one.
            size: (width, height) that frames are resized to, or a function that makes that, or a `Window`, of the width
                and height of the upright frames. Frames are cut and resized one by one, so that a clip of large ones
                takes little memory.

        Returns:
            RGB frames (len(indices), H, W, 3), uint8: an array, or a tensor on the device that was asked for. The
            rotation flag of the file has been applied.

        Raises:
            ValueError: If `indices` is empty, not made of integers, or out of range, or `size` is no size: the
                caller's mistake. What a function `size` raises is raised.
            VideoDecodeError: If a frame cannot be decoded exactly, for whatever cause; or if the reader is closed.
            BackendUnavailableError: If this process may open no more files.
            BackendUnavailableError: If the backend stops working, whatever the file.
        """
        if self._closed:
            raise VideoDecodeError(self.path, self.backend, 'the reader is closed')
        wanted, order = np.unique(self._checked(indices), return_inverse=True)
        callers: list[Exception] = []

        def asked(width: int, height: int) -> 'tuple[int, int] | Window':
            try:
                return window_of(size, width, height)
            except Exception as error:
                callers.append(error)
                raise

        try:
            frames = self._decode(wanted, None if size is None else asked)
        except FedVSSLError:
            raise
        except Exception as error:  # the decoders raise a dozen unrelated types for damaged files
            if error in callers:  # a mistake in `size` is no fault of the file
                raise
            if lacks_resources(error):
                raise BackendUnavailableError(self.backend, describe(error), NEEDS_RESOURCES) from error
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
