"""Tensors in and out of Flower's array records: without a copy within a machine, checked before anything is parsed.

Flower packs a tensor into bytes when it makes an `Array` and unpacks it on every read. Most messages of ours never
leave their process, or cross to another one through shared memory; so our `Array` keeps the tensor, and makes the bytes
(the same ones: numpy's ``.npy`` format) only when somebody asks, which Flower's own engines do.

With a *wire type*, tensors of single precision travel in half the bytes: ``bf16`` keeps the range and 8 significant
bits, ``fp16`` 11 bits up to 65504. Both round to nearest, ties to even, once in each direction. Everything else travels
as it is.
"""

import math
from collections.abc import Mapping
from io import BytesIO

import flwr.app
import numpy as np
from flwr.app import ArrayRecord

NUMPY = 'numpy.ndarray'  # Flower's name for .npy bytes
STYPES = {None: NUMPY, 'bf16': 'fedvssl.bf16', 'fp16': 'fedvssl.fp16'}
_PAYLOADS = {STYPES['bf16']: np.dtype(np.uint16), STYPES['fp16']: np.dtype(np.float16)}


class Array(flwr.app.Array):
    """A tensor that is packed when its bytes are wanted.

    It bears the name of Flower's class, because that name goes over the wire.

    Args:
        payload: What travels; shared, not copied: whoever made it must not change it before it has travelled.
        stype: How the payload encodes the tensor, one of the values of `STYPES`.
    """

    def __init__(self, payload: np.ndarray, stype: str = NUMPY) -> None:
        self.payload = payload.view()
        self.payload.flags.writeable = False
        self.dtype = str(payload.dtype) if stype == NUMPY else 'float32'
        self.shape = tuple(payload.shape)
        self.stype = stype

    @property
    def data(self) -> bytes:  # type: ignore[override]
        """The payload in numpy's format."""
        buffer = BytesIO()
        np.save(buffer, self.payload, allow_pickle=False)
        return buffer.getvalue()

    def numpy(self) -> np.ndarray:
        """Returns a copy of the tensor, as Flower's own arrays do."""
        return np.array(_decoded(self.payload, self.stype))

    def __reduce__(self) -> tuple[type, tuple[np.ndarray, str]]:
        """Pickles the payload, out of band where the pickler can."""
        return Array, (self.payload, self.stype)


def to_record(tensors: Mapping[str, np.ndarray], wire_dtype: str | None = None) -> ArrayRecord:
    """Packs named arrays, in their order; they must not be changed afterwards.

    Args:
        tensors: Named arrays.
        wire_dtype: None, ``'bf16'`` or ``'fp16'``.
    """
    record = ArrayRecord()  # given a dictionary, it would make Flower's own arrays of ours
    for name, tensor in tensors.items():
        record[name] = _array(np.asarray(tensor), wire_dtype)
    return record


def to_arrays(record: ArrayRecord) -> dict[str, np.ndarray]:
    """Unpacks named arrays; they may share memory with the record, and are then read-only.

    Raises:
        ValueError: If the bytes are not what the record says they are.
    """
    return {name: _decoded(_payload(array), array.stype) for name, array in record.items()}


def copied(record: ArrayRecord) -> ArrayRecord:
    """Returns a record whose tensors nobody else can change."""
    copies = ArrayRecord()
    for name, array in record.items():
        copies[name] = Array(array.payload.copy(), array.stype) if isinstance(array, Array) else array
    return copies


def payload_bytes(record: ArrayRecord) -> int:
    """Returns how many bytes of tensors travel, without the formats around them."""
    return sum(math.prod(array.shape) * _payload_dtype(array.dtype, array.stype).itemsize for array in record.values())


def record_fault(expected: ArrayRecord, found: ArrayRecord) -> str | None:
    """Returns the first way in which one record's names, shapes and types differ from another's, or None.

    Nothing is parsed, and no more memory touched than `expected` has.
    """
    for name in expected:
        if name not in found:
            return f'tensor {name} is missing'
    for name, array in found.items():
        if name not in expected:
            return f'tensor {name} was not asked for'
        wanted = expected[name]
        if tuple(array.shape) != tuple(wanted.shape) or array.dtype != wanted.dtype:
            return f'tensor {name} is {array.dtype} {tuple(array.shape)}, not {wanted.dtype} {tuple(wanted.shape)}'
        if array.stype != wanted.stype:
            return f'tensor {name} travels as {array.stype}, not {wanted.stype}'
    return None


def _array(tensor: np.ndarray, wire_dtype: str | None) -> Array:
    if wire_dtype is None or tensor.dtype != np.float32:
        return Array(tensor)
    return Array(_to_bf16(tensor) if wire_dtype == 'bf16' else _to_fp16(tensor), STYPES[wire_dtype])


def _to_fp16(tensor: np.ndarray) -> np.ndarray:
    with np.errstate(over='ignore'):  # too large a value becomes infinite, and the guard names its tensor
        return tensor.astype(np.float16)


def _to_bf16(tensor: np.ndarray) -> np.ndarray:
    """Returns the upper halves of the numbers, rounded to nearest, ties to even, as uint16."""
    bits = np.ascontiguousarray(tensor).view(np.uint32).reshape(tensor.shape)
    rounded = (bits + (0x7FFF + (bits >> 16 & 1))) >> 16
    return np.where(np.isnan(tensor), np.uint16(0x7FC0), rounded.astype(np.uint16))


def _decoded(payload: np.ndarray, stype: str) -> np.ndarray:
    if stype == STYPES['bf16']:
        return (payload.astype(np.uint32) << 16).view(np.float32)
    return payload.astype(np.float32) if stype == STYPES['fp16'] else payload


def _payload(array: flwr.app.Array) -> np.ndarray:
    return array.payload if isinstance(array, Array) else _parse(array)


def _payload_dtype(dtype: str, stype: str) -> np.dtype:
    if stype == NUMPY:
        return np.dtype(dtype)
    if stype not in _PAYLOADS or dtype != 'float32':
        raise ValueError(f'an array of {dtype} cannot travel as {stype!r}')
    return _PAYLOADS[stype]


def _parse(array: flwr.app.Array) -> np.ndarray:
    """Returns the tensor within .npy bytes, without a copy.

    The header must say what the record says, and the bytes must be exactly as many as that takes: numpy's own reader
    would allocate whatever a header asks for, and ignore what follows.
    """
    stream = BytesIO(array.data)
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read_header(stream)
    wanted = _payload_dtype(array.dtype, array.stype)
    if shape != tuple(array.shape) or dtype != wanted or dtype.hasobject:
        raise ValueError(f'the bytes hold {dtype} {shape}, the record says {wanted} {tuple(array.shape)}')
    begin, size = stream.tell(), math.prod(shape) * dtype.itemsize
    if len(array.data) != begin + size:
        raise ValueError(f'{len(array.data) - begin} bytes for {dtype} {shape}, which takes {size}')
    flat = np.frombuffer(array.data, dtype, offset=begin)
    return flat.reshape(shape, order='F' if fortran_order else 'C')
