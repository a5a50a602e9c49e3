"""Objects with large arrays, handed to another process through shared memory.

What a pickle holds besides arrays goes through a connection; the arrays' bytes (pickle protocol 5 lets them out of the
stream) go into a file that both processes map. It has no name, so that nothing is left of it when they are killed, and
lies in memory where the system has such files.

The reader does not copy. It tells the writer which bytes are still in use (`Parcels.occupied`); the next parcel goes
where there is room.
"""

import itertools
import mmap
import os
import pickle
import tempfile
import weakref
from collections.abc import Iterable
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

ALIGNMENT = 64  # bytes

Span = tuple[int, int]  # begin and end within the file
Read = tuple[Span, weakref.ref[np.ndarray]]  # where a parcel lies that was read; what lives while an array of it does


class Parcels:
    """One end of a shared file; one process writes it, the other reads it, in turns.

    The other end is what a process gets that is started with this one among its arguments.

    Args:
        descriptor: Of the file; None makes a new one.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = _new_file() if descriptor is None else descriptor
        self._map: mmap.mmap | None = None
        self._written: tuple[list[object], list[Span]] = ([], [])
        self._read: list[Read] = []

    def __reduce__(self) -> tuple[Any, ...]:
        """Hands the file to a process that is being started."""
        return _attached, (DupFd(self.descriptor),)

    def pack(self, content: Any, occupied: Iterable[Span] = (), again: bool = False) -> bytes:
        """Writes the arrays of an object and returns the rest of it, for the other end's `unpack`.

        Args:
            content: Anything that can be pickled.
            occupied: What must stay as it is: the other end's `occupied`, in its order.
            again: Whether arrays that are the very ones of the last call are still there as they were, because nobody
                changes them and the other end does not write.

        Raises:
            OSError: If there is not enough memory.
        """
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(content, protocol=5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        owners: list[object] = [view.obj for view in views]
        known, spans = self._written
        same = again and len(owners) == len(known) and all(map(lambda a, b: a is b, owners, known))
        if not same:
            spans = self._write(views, occupied)
            self._written = (owners, spans) if again else ([], [])
        return pickle.dumps((head, spans))

    def _write(self, views: list[memoryview], occupied: Iterable[Span]) -> list[Span]:
        begins = list(itertools.accumulate((_aligned(view.nbytes) for view in views), initial=0))
        begin = _first_gap(begins[-1], occupied)
        spans = [(begin + offset, begin + offset + view.nbytes) for offset, view in zip(begins, views, strict=False)]
        mapped = self._mapped(begin + begins[-1])
        for view, (first, last) in zip(views, spans, strict=True):
            mapped[first:last] = view
        return spans

    def unpack(self, packed: bytes) -> Any:
        """Returns the object; its arrays lie in the file, and change with the next that is packed where they are.

        Args:
            packed: What the other end's `pack` returned.
        """
        head, spans = pickle.loads(packed)
        begin, end = min(spans, default=(0, 0))[0], max((last for _, last in spans), default=0)
        parcel = np.frombuffer(self._mapped(end), np.uint8, end - begin, begin)
        self._read = [*self._in_use(), ((begin, end), weakref.ref(parcel))]
        whole = parcel.data  # what the arrays hold on to, so that `parcel` lives as long as one of them
        return pickle.loads(head, buffers=[whole[first - begin:last - begin] for first, last in spans])

    def occupied(self) -> list[Span]:
        """Returns where arrays lie that `unpack` returned and somebody still holds, from front to back."""
        return sorted(span for span, _ in self._in_use())

    def _in_use(self) -> list[Read]:
        return [(span, parcel) for span, parcel in self._read if parcel() is not None]

    def _mapped(self, size: int) -> mmap.mmap:
        """Returns a map of at least `size` bytes; an older, smaller one lives on in the arrays that use it."""
        if self._map is None or len(self._map) < size:
            size = max(size, mmap.PAGESIZE)
            if os.fstat(self.descriptor).st_size < size:
                _allocate(self.descriptor, size)
            self._map = mmap.mmap(self.descriptor, size)
        return self._map

    def close(self) -> None:
        """Gives the file up; the memory is free when no array uses it any more."""
        os.close(self.descriptor)
        self._map, self._written, self._read = None, ([], []), []


def _first_gap(size: int, occupied: Iterable[Span]) -> int:
    """Returns where the first so many free bytes begin."""
    begin = 0
    for first, last in occupied:
        if begin + size <= first:
            break
        begin = _aligned(last)
    return begin


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _attached(handle: Any) -> Parcels:
    return Parcels(handle.detach())


def _new_file() -> int:
    if hasattr(os, 'memfd_create'):
        return os.memfd_create('fedvssl')
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, 'posix_fallocate'):
        os.posix_fallocate(descriptor, 0, size)  # writing into a hole that cannot be filled would end us with SIGBUS
    else:
        os.ftruncate(descriptor, size)
