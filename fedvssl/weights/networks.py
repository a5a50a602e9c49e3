"""Our networks of any width as names and shapes: what a checkpoint is named after and checked against."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedvssl.weights.layouts import PREFIX

_TITLES = {'R3D18': 'R3D-18', 'R2Plus1D18': 'R(2+1)D-18'}
_STEMS = {'R3D18': 'backbone.conv1.conv.weight', 'R2Plus1D18': 'backbone.stem.conv_t.weight'}  # as wide as the network
_MAX_WIDTH = 4096
# How many arrays published files hold after the backbone's.
_HEADS = {0: 'no head', 2: 'the head of Speed or a classifier', 4: 'the head of VCOP', 6: 'the head of CtP'}


@dataclass(frozen=True)
class Network:
    """One of our backbones.

    Attributes:
        type: Its type in our configs.
        width: Its ``base_channels``.
        mid: Which rule sets the inner widths of R(2+1)D-18: ``per_conv`` (CtP) or ``per_block`` (torchvision).
    """

    type: str
    width: int
    mid: str | None = None

    def __str__(self) -> str:
        return f'{_TITLES[self.type]} of width {self.width}' + (f', mid={self.mid!r}' if self.mid else '')

    def state(self) -> Mapping[str, Tensor]:
        """Returns its tensors, in order and with the prefix ``backbone.``, on the meta device."""
        return _state(self)

    def difference(self, tensors: Mapping[str, Any]) -> str | None:
        """Names the first tensor whose shape is another than the network's own; None if all that are there fit."""
        for name, own in self.state().items():
            if name in tensors and tuple(tensors[name].shape) != tuple(own.shape):
                return f'{name} has shape {tuple(tensors[name].shape)}, {self} needs {tuple(own.shape)}'
        return None


@functools.cache
def _state(network: Network) -> Mapping[str, Tensor]:
    from fedvssl.models.backbones.r2plus1d import R2Plus1D18
    from fedvssl.models.backbones.r3d import R3D18

    with torch.device('meta'):
        model = (R2Plus1D18(base_channels=network.width, mid=network.mid) if network.mid
                 else R3D18(base_channels=network.width))
    return {PREFIX + name: tensor for name, tensor in model.state_dict().items()}


def identify(kind: str, tensors: Mapping[str, Any]) -> Network:
    """Returns the network that named tensors are most likely of; the caller checks whether all shapes fit.

    Args:
        kind: ``R3D18`` or ``R2Plus1D18``.
        tensors: Anything with a ``shape``, by our names; the width is read from the stem.

    Raises:
        ValueError: If the stem is not there or has no sensible width.
    """
    shape = tuple(tensors[_STEMS[kind]].shape) if _STEMS[kind] in tensors else None
    if shape is None or len(shape) != 5 or not 0 < shape[0] <= _MAX_WIDTH:
        raise ValueError(f'{_STEMS[kind]}, which says how wide the network is, '
                         f'{f"has shape {shape}" if shape else "is missing"}')
    if kind == 'R3D18':
        return Network(kind, shape[0])
    per_block = Network(kind, shape[0], 'per_block')
    return Network(kind, shape[0], 'per_conv') if per_block.difference(tensors) else per_block


def name_by_position(arrays: Sequence[Any]) -> tuple[Network, dict[str, Any], str]:
    """Names the arrays of a published list: the backbone's come first, in the order of our own model (and CtP's).

    Args:
        arrays: Anything with a ``shape``.

    Returns:
        The network, the backbone's arrays by our names, and what the arrays after them are.

    Raises:
        ValueError: If the number of arrays or any shape is not that of a list we know; the first that differs is named.
    """
    shapes = [tuple(array.shape) for array in arrays]
    kind = _kind_of_stem(shapes[0] if shapes else ())
    half = len(shapes) // 2
    if shapes[:half] == shapes[half:]:
        raise ValueError(f"its {len(shapes)} arrays are a list of {half} twice over: Flower's FedVSSL baseline joined "
                         f'two averages where it should have added them, so that neither half is the mean of the '
                         f'clients; such a file cannot be repaired')
    names = list(Network(kind, 64, 'per_conv' if kind == 'R2Plus1D18' else None).state())
    rest = len(arrays) - len(names)
    if rest not in _HEADS:
        known = ', '.join(f'{len(names) + count} (with {head})' for count, head in _HEADS.items())
        raise ValueError(f'holds {len(arrays)} arrays; known lists of {_TITLES[kind]} hold {known}')
    named = dict(zip(names, arrays, strict=False))
    network = identify(kind, named)
    if difference := network.difference(named):
        raise ValueError(f'is of another model: {difference}')
    return network, named, _HEADS[rest]


def _kind_of_stem(shape: tuple[int, ...]) -> str:
    """Tells the network by the kernel of its first convolution."""
    kinds: dict[tuple[int, ...], str] = {(3, 3, 7, 7): 'R3D18', (3, 1, 7, 7): 'R2Plus1D18'}
    if shape[1:] not in kinds:
        raise ValueError(f'its first array has shape {shape}; that of R3D-18 has (width, 3, 3, 7, 7) and that of '
                         f'R(2+1)D-18 (mid, 3, 1, 7, 7)')
    return kinds[shape[1:]]


def adapt(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Gives tensors the types of our model; averaging leaves counters as floats, half precision saves disk.

    Returns:
        The tensors, and a sentence on each kind of change.

    Raises:
        ValueError: If a value is not finite.
    """
    adapted, counters, others = {}, 0, 0
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f'{name} holds values that are not finite')
        wanted = state[name].dtype
        adapted[name] = tensor.to(wanted)  # float to integer truncates, as loading into a model does
        if tensor.dtype != wanted:
            counters += not wanted.is_floating_point
            others += wanted.is_floating_point
    notes = []
    if counters:
        notes.append(f'{counters} num_batches_tracked were not of type int64 (averaged as floats) and are truncated')
    if others:
        notes.append(f'{others} tensors were not of type float32 and are converted')
    return adapted, notes
