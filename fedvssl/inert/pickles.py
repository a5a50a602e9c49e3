"""Reads pickles of numpy arrays, lists and dictionaries, and runs nothing that is in them.

A pickle is a program whose words are classes and functions to call. Here every name it may say is answered by an inert
stand-in that keeps what it is given, and any other name ends the reading before anything is looked up. Not even numpy's
own unpickling code sees what the file holds: arrays are built from the recorded shape, type and bytes afterwards.
"""

import io
import pickle
import pickletools
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedvssl.inert.arrays import make_array
from fedvssl.inert.objects import Inert


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


StandIns = Mapping[tuple[str, str], type[Inert]]

_NUMPY: dict[tuple[str, str], type[Inert]] = {
    ('numpy', 'ndarray'): _ArrayType,
    ('numpy', 'dtype'): _DType,
    ('_codecs', 'encode'): _Encoded,  # how pickles up to protocol 2 write bytes
}
for _module in ('numpy.core.multiarray', 'numpy._core.multiarray'):  # before and since numpy 2
    _NUMPY[_module, '_reconstruct'] = _Array
    _NUMPY[_module, 'scalar'] = _Scalar

MAX_OPCODES = 1_000_000  # an array takes some 30, an image with label and name 4

# What numpy's picklers emit; leaves out, among others, the extension registry and everything that grows a buffer.
_OPCODES = frozenset({
    'PROTO', 'FRAME', 'STOP', 'MARK', 'GLOBAL', 'STACK_GLOBAL', 'REDUCE', 'NEWOBJ', 'BUILD', 'NONE', 'NEWTRUE',
    'NEWFALSE', 'BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8',
    'BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8', 'EMPTY_TUPLE', 'TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3', 'EMPTY_LIST',
    'APPEND', 'APPENDS', 'EMPTY_DICT', 'SETITEM', 'SETITEMS', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE', 'BINGET',
    'LONG_BINGET'})
_PYTHON2 = frozenset({'BINSTRING', 'SHORT_BINSTRING'})


class _Unpickler(pickle.Unpickler):
    """Knows the names in `stand_ins` and no other."""

    def __init__(self, content: bytes, stand_ins: StandIns, of: str, encoding: str) -> None:
        super().__init__(io.BytesIO(content), encoding=encoding)
        self._stand_ins, self._of = stand_ins, of

    def find_class(self, module: str, name: str) -> type[Inert]:
        """Answers a name with its stand-in; nothing is imported and no attribute is looked up."""
        if (module, name) not in self._stand_ins:
            raise ValueError(f'names {module}.{name}, which no {self._of} needs')
        return self._stand_ins[module, name]


def load(content: bytes, of: str, further: StandIns | None = None, python2: bool = False) -> Any:
    """Returns what a pickle holds: plain objects, and stand-ins for arrays (see `array_state`).

    Args:
        content: The pickle.
        of: What kind of file it is from, for messages, e.g. ``'file of weights'``.
        further: Names it may say beside numpy's, and what answers them.
        python2: Whether Python 2 may have written it: its strings are read, as bytes.

    Raises:
        ValueError: If it names or does anything that such a file needs not.
        Exception: What Python raises for a damaged pickle.
    """
    _check_opcodes(content, of, _OPCODES | _PYTHON2 if python2 else _OPCODES)
    return _Unpickler(content, {**_NUMPY, **(further or {})}, of, 'bytes' if python2 else 'ASCII').load()


def _check_opcodes(content: bytes, of: str, known: frozenset[str]) -> None:
    puts = 0
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if number >= MAX_OPCODES:
            raise ValueError(f'is a pickle of more than {MAX_OPCODES} steps')
        if opcode.name not in known:
            raise ValueError(f'uses the pickle opcode {opcode.name}, which no {of} needs')
        if opcode.name in ('BINPUT', 'LONG_BINPUT'):
            # Python allocates its table of remembered objects up to the largest number in it. Python 2 counts from 1.
            if argument is None or argument > puts + 1:
                raise ValueError('numbers its objects out of order')
            puts += 1


def array(node: object) -> np.ndarray:
    """Returns the array, or numpy's number, that a stand-in recorded; it shares the memory of the pickle's bytes.

    Raises:
        ValueError: If `node` is none, or not of plain numbers, or its bytes are not as many as its shape asks for.
    """
    if isinstance(node, _Scalar) and len(node.arguments) == 2:
        return make_array(raw(node.arguments[1]), (), _dtype(node.arguments[0]))
    shape, dtype, fortran, data = array_state(node)
    return make_array(raw(data), shape, dtype, fortran)


def array_state(node: object) -> tuple[object, str, bool, object]:
    """Returns shape, type, Fortran order and data of a recorded array, the data still unchecked.

    Raises:
        ValueError: If `node` is no array.
    """
    if not isinstance(node, _Array) or not isinstance(node.state, tuple) or len(node.state) != 5:
        kind = 'another object' if isinstance(node, Inert) else f'a value of type {type(node).__name__}'
        raise ValueError(f'holds {kind} where an array should be')
    _, shape, dtype, fortran, data = node.state
    return shape, _dtype(dtype), fortran in (True, 1), data


def _dtype(node: object) -> str:
    """Returns byte order, kind and size, e.g. ``'<f4'``."""
    if not isinstance(node, _DType):
        raise ValueError('holds an array without a proper type')
    match [_text(value) for value in node.arguments], node.state:
        case [str() as text, *_], None:
            pass
        case [str() as text, *_], (int(), order, *_) if _text(order) in ('<', '>', '|'):
            text = f'{_text(order)}{text}'
        case _:
            raise ValueError('holds an array without a proper type')
    return '|O' if text in ('O', 'O8', '|O', '|O8') else text


def _text(value: object) -> object:
    """Returns a string of Python 2 as one of Python 3."""
    return value.decode('latin1') if isinstance(value, bytes) else value


def raw(node: Any) -> Any:
    """Returns the bytes that a stand-in recorded; anything else as it is."""
    match node:
        case _Encoded(arguments=(str() as text, 'latin1' | b'latin1')):
            return text.encode('latin1')
    return node
