"""Reads the pickled object arrays of published ``.npz`` files, and runs nothing that is in them.

A pickle is a program whose words are classes and functions to call. Here every name it may say is answered by an inert
stand-in that keeps what it is given, and any other name ends the reading before anything is looked up. Not even numpy's
own unpickling code sees what the file holds: arrays are built from the recorded shape, type and bytes afterwards.
"""

import io
import pickle
import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedvssl.weights.inert import Inert
from fedvssl.weights.npy import make_array


@dataclass(frozen=True)
class Parameters:
    """The payload of Flower's class of this name: ``.npy`` files as byte strings."""

    tensors: list[bytes]


class _Array(Inert):
    __slots__ = ()


class _ArrayType(Inert):
    __slots__ = ()


class _Scalar(Inert):
    __slots__ = ()


class _DType(Inert):
    __slots__ = ()


class _Encoded(Inert):
    __slots__ = ()


class _FlowerParameters(Inert):
    __slots__ = ()


_STAND_INS: dict[tuple[str, str], type[Inert]] = {
    ('numpy', 'ndarray'): _ArrayType,
    ('numpy', 'dtype'): _DType,
    ('_codecs', 'encode'): _Encoded,  # how pickles up to protocol 2 write bytes
}
for _module in ('numpy.core.multiarray', 'numpy._core.multiarray'):  # before and since numpy 2
    _STAND_INS[_module, '_reconstruct'] = _Array
    _STAND_INS[_module, 'scalar'] = _Scalar
for _module in ('flwr.common.typing', 'flwr.common', 'flwr.compat.common.typing', 'flwr.compat.common'):
    _STAND_INS[_module, 'Parameters'] = _FlowerParameters

MAX_ARRAYS = 10_000
MAX_OPCODES = 100 * MAX_ARRAYS  # an array takes some 30

# What numpy's picklers emit; leaves out, among others, the extension registry and everything that grows a buffer.
_OPCODES = frozenset({
    'PROTO', 'FRAME', 'STOP', 'MARK', 'GLOBAL', 'STACK_GLOBAL', 'REDUCE', 'NEWOBJ', 'BUILD', 'NONE', 'NEWTRUE',
    'NEWFALSE', 'BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8',
    'BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8', 'EMPTY_TUPLE', 'TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3', 'EMPTY_LIST',
    'APPEND', 'APPENDS', 'EMPTY_DICT', 'SETITEM', 'SETITEMS', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE', 'BINGET',
    'LONG_BINGET'})


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[Inert]:
        """Answers a name with its stand-in; nothing is imported and no attribute is looked up."""
        if (module, name) not in _STAND_INS:
            raise ValueError(f'names {module}.{name}, which no file of weights needs')
        return _STAND_INS[module, name]


def read_object_array(content: bytes) -> list[object]:
    """Returns the items of a pickled object array: arrays, `Parameters`, or empty dictionaries.

    Args:
        content: The pickle.

    Raises:
        ValueError: If it holds anything else.
        Exception: What Python raises for a damaged pickle.
    """
    _check_opcodes(content)
    root = _Unpickler(io.BytesIO(content)).load()
    shape, dtype, _, items = _array_state(root)
    if dtype != '|O' or not isinstance(items, list) or shape not in ((), (len(items),)) or not items:
        raise ValueError('is not an array of objects')
    _require_few(items)
    return [_item(item) for item in items]


def _check_opcodes(content: bytes) -> None:
    puts = 0
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if number >= MAX_OPCODES:
            raise ValueError(f'is a pickle of more than {MAX_OPCODES} steps')
        if opcode.name not in _OPCODES:
            raise ValueError(f'uses the pickle opcode {opcode.name}, which no file of weights needs')
        if opcode.name in ('BINPUT', 'LONG_BINPUT'):
            # Python allocates its table of remembered objects up to the largest number in it.
            if argument is None or argument > puts:
                raise ValueError('numbers its objects out of order')
            puts += 1


def _require_few(items: list) -> None:
    """Refuses lists that could name one array over and over, each time for two bytes."""
    if len(items) > MAX_ARRAYS:
        raise ValueError(f'lists {len(items)} arrays, more than the {MAX_ARRAYS} that are read')


def _item(node: object) -> object:
    if type(node) is dict and not node:
        return node
    if isinstance(node, _FlowerParameters):
        return _parameters(node)
    if isinstance(node, _Scalar) and len(node.arguments) == 2:
        return make_array(_raw(node.arguments[1]), (), _dtype(node.arguments[0]))
    if type(node) in (int, float):  # some versions of numpy turn arrays without dimensions into these
        return np.array(node, np.int64 if type(node) is int else np.float64)
    shape, dtype, fortran, data = _array_state(node)
    return make_array(_raw(data), shape, dtype, fortran)


def _parameters(node: _FlowerParameters) -> Parameters:
    tensors = node.state.get('tensors') if isinstance(node.state, dict) else None
    if isinstance(tensors, list):
        _require_few(tensors)
    contents = [_raw(tensor) for tensor in tensors] if isinstance(tensors, list) else []
    if not contents or not all(isinstance(content, bytes) for content in contents):
        raise ValueError("holds a Parameters object of Flower's without its byte strings")
    return Parameters(contents)


def _array_state(node: object) -> tuple[object, str, bool, object]:
    """Returns shape, type, Fortran order and data of a recorded array, the data still unchecked."""
    if not isinstance(node, _Array) or not isinstance(node.state, tuple) or len(node.state) != 5:
        kind = 'another object' if isinstance(node, Inert) else f'a value of type {type(node).__name__}'
        raise ValueError(f'holds {kind} where an array should be')
    _, shape, dtype, fortran, data = node.state
    return shape, _dtype(dtype), fortran is True, data


def _dtype(node: object) -> str:
    """Returns byte order, kind and size, e.g. ``'<f4'``."""
    match node:
        case _DType(arguments=(str() as text, *_), state=None):
            pass
        case _DType(arguments=(str() as text, *_), state=(int(), '<' | '>' | '|' as order, *_)):
            text = order + text
        case _:
            raise ValueError('holds an array without a proper type')
    return '|O' if text in ('O', 'O8', '|O', '|O8') else text


def _raw(node: Any) -> Any:
    match node:
        case _Encoded(arguments=(str() as text, 'latin1')):
            return text.encode('latin1')
    return node
