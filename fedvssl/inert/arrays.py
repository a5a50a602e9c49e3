"""Arrays from raw bytes, each checked before memory is given to it: plain numbers only, and exactly as many bytes as
its shape asks for.
"""

import io
import math
from typing import Any

import numpy as np

# Kind and size in bytes, as numpy spells them without the byte order.
NUMBERS = frozenset({'f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', 'b1'})
_MAX_DIMENSIONS = 8


def make_array(raw: object, shape: object, dtype: str, fortran: bool = False) -> np.ndarray:
    """Returns an array that shares memory with `raw`.

    Args:
        raw: Its bytes.
        shape: A tuple of sizes.
        dtype: Byte order, kind and size, e.g. ``'<f4'``.
        fortran: Whether the first index runs fastest.

    Raises:
        ValueError: If the type is not a plain number, or the bytes are not as many as shape and type ask for.
    """
    if dtype.lstrip('<>|=') not in NUMBERS:
        raise ValueError(f'holds values of type {dtype!r}, which is not a plain number')
    if not (isinstance(shape, tuple) and len(shape) <= _MAX_DIMENSIONS
            and all(type(size) is int and size >= 0 for size in shape)):
        raise ValueError('an array has no proper shape')
    if not isinstance(raw, bytes):
        raise ValueError(f'an array holds {type(raw).__name__} where its bytes should be')
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    if len(raw) != needed:
        raise ValueError(f'an array of shape {shape} and type {dtype!r} needs {needed} bytes and has {len(raw)}')
    return np.frombuffer(raw, dtype).reshape(shape, order='F' if fortran else 'C')


def split_npy(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], bytes]:
    """Returns what the header of a ``.npy`` file states (shape, Fortran order, type), and the bytes that follow it.

    Raises:
        ValueError: If it is not such a file.
    """
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f'npy format {version} is not read here')
    shape, fortran, dtype = readers[version](stream)
    return shape, fortran, dtype, stream.read()


def read_npy(content: bytes) -> np.ndarray:
    """Returns the array of a ``.npy`` file.

    Raises:
        ValueError: If it is not such a file, or holds anything but plain numbers.
    """
    shape, fortran, dtype, raw = split_npy(content)
    return make_array(raw, shape, dtype.str, fortran)
