"""Weights in: read any checkpoint as named tensors, and load them into a model with a report.

Nothing is matched by position and nothing is unpickled. Sources: a work directory of ``fed_train.py`` (its newest sound
round), one of its round directories, a ``.safetensors`` file, or a ``.pth`` file of plain tensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fedvssl.commit import MANIFEST, latest_commit, read_commit
from fedvssl.compat import load_pth
from fedvssl.errors import CheckpointError

GLOBAL_FILE = 'global.safetensors'
ROUNDS_DIR = 'rounds'
ROUND_PREFIX = 'round'


def read_weights(source: Path | str) -> dict[str, Tensor]:
    """Reads the named tensors of a checkpoint.

    Args:
        source: A work directory, a round directory, a ``.safetensors`` or a ``.pth`` file.

    Raises:
        CheckpointError: If it is missing, damaged, unsafe, or holds no tensors.
    """
    source = Path(source)
    if source.is_dir():
        return _read_directory(source)
    if not source.is_file():
        raise CheckpointError(f'{source}: no such checkpoint')
    if source.suffix == '.safetensors':
        return _parse(source.read_bytes(), source)
    if source.suffix in ('.pth', '.pt'):
        return _plain_tensors(load_pth(source), source)
    raise CheckpointError(f'{source}: not a checkpoint (a directory, .safetensors or .pth is)')


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


def _plain_tensors(content: object, source: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get('state_dict'), Mapping):
        content = content['state_dict']
    if not isinstance(content, Mapping):
        raise CheckpointError(f'{source}: holds no state dict')
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f'{source}: holds no tensors')
    return tensors


@dataclass(frozen=True)
class LoadReport:
    """What became of each name: loaded, left at its initial value, or not wanted."""

    matched: list[str]
    missing: list[str]
    unexpected: list[str]

    def __str__(self) -> str:
        lines = [f'matched {len(self.matched)}, missing {len(self.missing)}, unexpected {len(self.unexpected)}']
        for label, names in (('missing', self.missing), ('unexpected', self.unexpected)):
            if names:
                lines.append(f'  {label}: {", ".join(names[:6])}{", ..." if len(names) > 6 else ""}')
        return '\n'.join(lines)


def load_backbone(model: nn.Module, tensors: Mapping[str, Tensor], source: Path | str) -> LoadReport:
    """Loads the tensors named ``backbone.*`` into a model; all others are reported and left out.

    Args:
        model: A model with a ``backbone``.
        tensors: Named tensors, as `read_weights` gives them.
        source: Where they come from, for messages.

    Raises:
        CheckpointError: If no name matches, a shape differs (the first such tensor is named), or only a part of the
            backbone is there.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith('backbone.')}
    matched = [name for name in own if name in tensors]
    report = LoadReport(matched, [name for name in own if name not in tensors],
                        [name for name in tensors if name not in own])
    if not matched:
        raise CheckpointError(f'{source}: none of its {len(tensors)} tensors belongs to this backbone, '
                              f'e.g. it has {next(iter(tensors), "nothing")!r} where {next(iter(own))!r} is needed')
    for name in matched:
        if tensors[name].shape != own[name].shape:
            raise CheckpointError(f'{source}: is of another model: {name} has shape {tuple(tensors[name].shape)}, '
                                  f'this model needs {tuple(own[name].shape)}')
    if report.missing:
        raise CheckpointError(f'{source}: holds only a part of this backbone: {report}')
    with torch.no_grad():
        for name in matched:
            own[name].copy_(tensors[name])
    return report
