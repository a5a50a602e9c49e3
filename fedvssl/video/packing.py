"""Numbers about a file in as few bytes as will do: what an index is kept as.

A length, a compressed JSON header, then the differences of neighbours in each array, compressed.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_LENGTHS = 'lengths'
_LENGTH_BYTES = 4
_MOST_HEADER_BYTES = 1 << 24
_MOST_NUMBERS = 1 << 27


def packed(header: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> bytes:
    """Returns JSON values and arrays of integers (n,) as bytes."""
    text = json.dumps({**header, _LENGTHS: [len(array) for array in arrays]}).encode()
    head = zlib.compress(text)
    steps = np.concatenate([np.diff(array, prepend=0) for array in arrays]).astype('<i8')
    return len(head).to_bytes(_LENGTH_BYTES, 'little') + head + zlib.compress(steps.tobytes())


def unpacked(data: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Returns what `packed` was given; arrays as int64.

    Raises:
        ValueError: If it is damaged.
    """
    end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], 'little')
    header = json.loads(_inflated(data[_LENGTH_BYTES:end], _MOST_HEADER_BYTES))
    lengths = header.pop(_LENGTHS, None) if isinstance(header, dict) else None
    if not isinstance(lengths, list) or not all(type(length) is int and length >= 0 for length in lengths):
        raise ValueError('no lengths')
    if sum(lengths) > _MOST_NUMBERS:
        raise ValueError(f'{sum(lengths)} numbers')
    steps = np.frombuffer(_inflated(data[end:], 8 * sum(lengths)), '<i8')
    if len(steps) != sum(lengths):
        raise ValueError(f'{len(steps)} numbers instead of {sum(lengths)}')
    return header, [np.cumsum(part, dtype=np.int64) for part in np.split(steps, np.cumsum(lengths)[:-1])]


def _inflated(data: bytes, most: int) -> bytes:
    if not most:
        return b''
    try:
        return zlib.decompressobj().decompress(data, most)
    except zlib.error as error:
        raise ValueError(str(error)) from error
