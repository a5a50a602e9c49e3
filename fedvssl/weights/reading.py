"""Weights in: read any checkpoint as named tensors, under our names where those of another code base are recognised.

Sources: a work directory of ``fed_train.py`` (its newest sound round), one of its round directories, a ``.safetensors``
file, a ``.pth`` file of plain tensors, or a published ``.npz``. Nothing is unpickled. Nothing is matched by position
except the published ``.npz`` lists, which have no names: there the number of arrays and every shape must be right.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedvssl.commit import MANIFEST, latest_commit, read_commit
from fedvssl.compat import load_pth
from fedvssl.errors import CheckpointError
from fedvssl.inert.objects import Inert
from fedvssl.weights.layouts import PREFIX, Layout, bare_names, find_layout, recognise
from fedvssl.weights.networks import adapt, name_by_position
from fedvssl.weights.npz import read_npz

GLOBAL_FILE = 'global.safetensors'
ROUNDS_DIR = 'rounds'
ROUND_PREFIX = 'round'

# What mmengine's training checkpoints hold beside tensors, in `message_hub`.
_MMENGINE_EXTRAS = ('mmengine.logging.history_buffer.HistoryBuffer', 'builtins.getattr', 'numpy.dtype', 'numpy.ndarray',
                    'numpy.core.multiarray._reconstruct', 'numpy._core.multiarray._reconstruct',
                    'numpy.core.multiarray.scalar', 'numpy._core.multiarray.scalar')

_logger = logging.getLogger('fedvssl')


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint and what is known about them.

    Attributes:
        tensors: Named tensors; the backbone's under our names if the layout is known.
        layout: What the backbone's tensors were called; None if the names are of no code base we know.
        left_out: Tensors without names that are not the backbone's.
        notes: Sentences on what was changed.
    """

    tensors: dict[str, Tensor]
    layout: Layout | None = None
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_weights(source: Path | str) -> dict[str, Tensor]:
    """Reads the named tensors of a checkpoint.

    Args:
        source: A work directory, a round directory, a ``.safetensors``, ``.pth`` or ``.npz`` file. Backbones of CtP,
            mmaction2 and torchvision get our names, other names stay as they are.

    Raises:
        CheckpointError: If it is missing, damaged, unsafe, ambiguous, or holds no tensors.
    """
    checkpoint = read_checkpoint(source)
    for note in checkpoint.notes:
        _logger.info('%s: %s', source, note)
    if checkpoint.layout and 'torchvision' in checkpoint.layout.users:
        mid = "; mid='per_block'" if checkpoint.layout.network == 'R2Plus1D18' else ''
        _logger.warning("%s: torchvision's batch norms have eps 1e-5; unless these weights were converted from "
                        'fedvssl, set model.backbone: norm_eps=1e-5%s', source, mid)
    return checkpoint.tensors


def read_checkpoint(source: Path | str) -> Checkpoint:
    """Reads a checkpoint as `read_weights` does, and says what it was.

    Raises:
        CheckpointError: As `read_weights`.
    """
    source = Path(source)
    if source.is_dir():
        return _in_our_names(_read_directory(source), source)
    if not source.is_file():
        raise CheckpointError(f'{source}: no such checkpoint; name a work directory, a round of it, or a file')
    if source.suffix == '.safetensors':
        return _in_our_names(_parse(source.read_bytes(), source), source)
    if source.suffix in ('.pth', '.pt'):
        return _in_our_names(_plain_tensors(_load_pth(source), source), source)
    if source.suffix == '.npz':
        return _read_list(source)
    raise CheckpointError(f'{source}: not a checkpoint (a directory, .safetensors, .pth or .npz is)')


def _read_directory(source: Path) -> dict[str, Tensor]:
    if (source / MANIFEST).is_file():
        files, directory = read_commit(source), source
    else:
        latest = latest_commit(source / ROUNDS_DIR, ROUND_PREFIX)
        if latest is None:
            raise CheckpointError(f'{source}: holds no finished round '
                                  f'(expected {ROUNDS_DIR}/{ROUND_PREFIX}-000001, ...)')
        _, directory, files = latest
    if GLOBAL_FILE not in files:
        raise CheckpointError(f'{directory}: holds no {GLOBAL_FILE}')
    return _parse(files[GLOBAL_FILE], directory / GLOBAL_FILE)


def _parse(content: bytes, source: Path) -> dict[str, Tensor]:
    from safetensors.torch import load

    try:
        return load(content)
    except Exception as error:  # safetensors has an exception type of its own in each binding
        raise CheckpointError(f'{source}: damaged, not a safetensors file ({error})') from error


def _load_pth(source: Path) -> object:
    """Reads a ``.pth`` file; mmengine's history of the loss becomes inert stand-ins, which nobody looks at."""
    with torch.serialization.safe_globals([(Inert, name) for name in _MMENGINE_EXTRAS]):
        return load_pth(source)


def _plain_tensors(content: object, source: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get('state_dict'), Mapping):
        content = content['state_dict']
    if not isinstance(content, Mapping):
        raise CheckpointError(f'{source}: holds no state dict')
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f'{source}: holds no tensors')
    return tensors


def _in_our_names(tensors: dict[str, Tensor], source: Path) -> Checkpoint:
    """Renames a backbone whose layout is recognised; everything else keeps its name."""
    bare = bare_names(tensors)
    layouts = recognise(bare.values())
    if len(layouts) > 1:
        raise CheckpointError(f'{source}: ambiguous, has names of ' +
                              ' and '.join(f'{layout.title} ({layout.mark})' for layout in layouts))
    if not layouts:
        return Checkpoint(tensors)
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        ours = layouts[0].to_ours(bare[name]) if name in bare else None
        target = name if ours is None else PREFIX + ours
        if target in renamed:
            raise CheckpointError(f'{source}: two of its tensors are {target}, one of them is {name}')
        renamed[target] = tensor
    return Checkpoint(renamed, layouts[0])


def _read_list(source: Path) -> Checkpoint:
    """Reads a published list of arrays, whose names follow from their order."""
    arrays = read_npz(source)
    try:
        network, named, head = name_by_position(arrays)
        tensors = {name: _tensor(array) for name, array in named.items()}
        tensors, changes = adapt(tensors, network.state())
    except ValueError as error:
        raise CheckpointError(f'{source}: {error}') from error
    left_out = tuple(f'array {number} {array.shape}' for number, array in enumerate(arrays) if number >= len(named))
    order = f'{len(arrays)} arrays without names, named by their order: {network}, and {head}'
    return Checkpoint(tensors, find_layout(network.type, 'ctp'), left_out, (order, *changes))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(array.dtype.newbyteorder('=')))  # a copy, which may be written to
