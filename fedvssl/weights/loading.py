"""Loading a backbone into a model, with a report of what became of each name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fedvssl.errors import CheckpointError


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


def match(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: Path | str,
          needs: str = 'this model') -> LoadReport:
    """Compares a checkpoint with a backbone, by name.

    Args:
        own: The backbone's tensors.
        tensors: The checkpoint's.
        source: Where they come from, for messages.
        needs: What the backbone is, for messages.

    Raises:
        CheckpointError: If no name matches, a shape differs (the first such tensor is named), or only a part of the
            backbone is there.
    """
    matched = [name for name in own if name in tensors]
    report = LoadReport(matched, [name for name in own if name not in tensors],
                        [name for name in tensors if name not in own])
    if not matched:
        raise CheckpointError(f'{source}: none of its {len(tensors)} tensors belongs to this backbone, '
                              f'e.g. it has {next(iter(tensors), "nothing")!r} where {next(iter(own))!r} is needed')
    for name in matched:
        if tensors[name].shape != own[name].shape:
            raise CheckpointError(f'{source}: is of another model: {name} has shape {tuple(tensors[name].shape)}, '
                                  f'{needs} needs {tuple(own[name].shape)}')
    if report.missing:
        raise CheckpointError(f'{source}: holds only a part of this backbone: {report}')
    return report


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
    report = match(own, tensors, source)
    with torch.no_grad():
        for name in report.matched:
            own[name].copy_(tensors[name])
    return report
