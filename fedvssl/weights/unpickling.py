"""Reads the pickled object arrays of published ``.npz`` files, and runs nothing that is in them (`fedvssl.inert`)."""

from dataclasses import dataclass

import numpy as np

from fedvssl.inert import pickles
from fedvssl.inert.objects import Inert


@dataclass(frozen=True)
class Parameters:
    """The payload of Flower's class of this name: ``.npy`` files as byte strings."""

    tensors: list[bytes]


class _FlowerParameters(Inert):
    __slots__ = ()


_FLOWER: dict[tuple[str, str], type[Inert]] = {
    (module, 'Parameters'): _FlowerParameters
    for module in ('flwr.common.typing', 'flwr.common', 'flwr.compat.common.typing', 'flwr.compat.common')}

MAX_ARRAYS = 10_000


def read_object_array(content: bytes) -> list[object]:
    """Returns the items of a pickled object array: arrays, `Parameters`, or empty dictionaries.

    Args:
        content: The pickle.

    Raises:
        ValueError: If it holds anything else.
        Exception: What Python raises for a damaged pickle.
    """
    root = pickles.load(content, 'file of weights', _FLOWER)
    shape, dtype, _, items = pickles.array_state(root)
    if dtype != '|O' or not isinstance(items, list) or shape not in ((), (len(items),)) or not items:
        raise ValueError('is not an array of objects')
    _require_few(items)
    return [_item(item) for item in items]


def _require_few(items: list) -> None:
    """Refuses lists that could name one array over and over, each time for two bytes."""
    if len(items) > MAX_ARRAYS:
        raise ValueError(f'lists {len(items)} arrays, more than the {MAX_ARRAYS} that are read')


def _item(node: object) -> object:
    if type(node) is dict and not node:
        return node
    if isinstance(node, _FlowerParameters):
        return _parameters(node)
    if type(node) in (int, float):  # some versions of numpy turn arrays without dimensions into these
        return np.array(node, np.int64 if type(node) is int else np.float64)
    return pickles.array(node)


def _parameters(node: _FlowerParameters) -> Parameters:
    tensors = node.state.get('tensors') if isinstance(node.state, dict) else None
    if isinstance(tensors, list):
        _require_few(tensors)
    contents = [pickles.raw(tensor) for tensor in tensors] if isinstance(tensors, list) else []
    if not contents or not all(isinstance(content, bytes) for content in contents):
        raise ValueError("holds a Parameters object of Flower's without its byte strings")
    return Parameters(contents)
