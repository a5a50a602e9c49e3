"""Where the images of a zip are, as plain numbers; how it is kept: ``index_cache.py``."""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from fedvssl.video.packing import packed, unpacked

_FIELDS = ('header_offset', 'compress_size', 'file_size', 'CRC', 'compress_type', 'flag_bits')


@dataclass(frozen=True)
class ImageTable:
    """The images of a zip.

    Attributes:
        names: Of the members that are frames, in their order.
        numbers: What `zipfile.ZipInfo` says of each: offset of its header, packed and unpacked size, CRC, method, flags
            (frames, 6), int64.
    """

    names: tuple[str, ...]
    numbers: np.ndarray

    @classmethod
    def of(cls, members: Iterable[zipfile.ZipInfo]) -> Self:
        """Makes the table of some members, in their order."""
        chosen = list(members)
        numbers = np.array([[getattr(member, field) for field in _FIELDS] for member in chosen], np.int64)
        return cls(tuple(member.filename for member in chosen), numbers)

    def member(self, number: int) -> zipfile.ZipInfo:
        """Returns one member as `zipfile` would list it."""
        member = zipfile.ZipInfo(self.names[number])
        for field, value in zip(_FIELDS, self.numbers[number].tolist(), strict=True):
            setattr(member, field, value)
        return member

    def to_bytes(self) -> bytes:
        """Returns the table in some bytes a frame."""
        return packed({'names': self.names}, list(self.numbers.T))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Returns the table that `to_bytes` wrote.

        Raises:
            ValueError: If it is damaged, as far as that can be seen.
        """
        header, arrays = unpacked(data)
        names = header.get('names')
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError('not a table of images')
        if len(arrays) != len(_FIELDS) or any(len(array) != len(names) or array.min() < 0 for array in arrays):
            raise ValueError('numbers that do not fit')
        return cls(tuple(names), np.stack(arrays, axis=1))
