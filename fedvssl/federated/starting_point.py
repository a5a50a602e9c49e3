"""Where a client's training starts: from the global model, but for what the strategy leaves to the client.

FedU leaves it its predictor, FedEMA a share of all that it had; the formulas stand with these strategies. Both need
what the client sent the last time it took part, which it keeps on its own disk with its head.
"""

import math
from collections.abc import Collection, Mapping

import torch
from flwr.app import ConfigRecord
from torch import Tensor

from fedvssl.federated.messages import DIVERGENCE_OF, DIVERGENCE_THRESHOLD, MIX_SCALE, MIX_TARGET
from fedvssl.federated.terms import not_negative

SCALE = 'fedema.scale'  # λ of this client, kept with its head


def keeps_copy(instructions: ConfigRecord) -> bool:
    """Returns whether the client is to keep all that it has trained, to compare it with the global model later."""
    return any(name in instructions for name in (DIVERGENCE_THRESHOLD, MIX_SCALE, MIX_TARGET))


def starting_point(instructions: ConfigRecord, own: Mapping[str, Tensor],
                   shared: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors that take the place of the client's own, and `SCALE` where the client has one.

    Args:
        instructions: What the server says.
        own: What the client kept from its last round; empty before the first.
        shared: What the server sent.

    Raises:
        ConfigError: If the server sent a number that is out of its range.
    """
    if MIX_SCALE in instructions or MIX_TARGET in instructions:
        return _mixed(instructions, own, shared)
    if DIVERGENCE_THRESHOLD in instructions:
        return _without_predictor(instructions, own, shared)
    return dict(shared)


def _without_predictor(instructions: ConfigRecord, own: Mapping[str, Tensor],
                       shared: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns what is shared, without the predictor where the client differs much (FedU)."""
    part = _part(instructions)
    compared = [name for name in shared if name.startswith(part) and name in own]
    if not compared or divergence(own, shared, compared) < not_negative(instructions, DIVERGENCE_THRESHOLD):
        return dict(shared)
    return {name: tensor for name, tensor in shared.items() if name.startswith(part) or name not in own}


def _mixed(instructions: ConfigRecord, own: Mapping[str, Tensor], shared: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns μ of the client's own and 1 - μ of the shared tensors (FedEMA); whole numbers are the shared ones."""
    both = [name for name in shared if name in own and shared[name].is_floating_point()]
    apart = distance(own, shared, [name for name in both if name.startswith(_part(instructions))])
    if not apart:
        return dict(shared) | {name: own[name] for name in (SCALE,) if name in own}
    if MIX_SCALE in instructions:
        scale = torch.tensor(not_negative(instructions, MIX_SCALE), dtype=torch.float64)
    else:  # the distance of its first two rounds sets a client's scale
        scale = own.get(SCALE, torch.tensor(not_negative(instructions, MIX_TARGET) / apart, dtype=torch.float64))
    mu = min(float(scale) * apart, 1.0)
    mixed = {name: (mu * own[name].double() + (1 - mu) * shared[name].double()).to(shared[name].dtype) for name in both}
    return {**shared, **mixed, SCALE: scale}


def _part(instructions: ConfigRecord) -> str:
    return f'{instructions[DIVERGENCE_OF]!s}.'


def distance(own: Mapping[str, Tensor], shared: Mapping[str, Tensor], names: Collection[str]) -> float:
    """Returns the Euclidean distance of two models over the tensors named."""
    return math.sqrt(math.fsum(float((own[name].double() - shared[name].double()).square().sum()) for name in names))


def divergence(own: Mapping[str, Tensor], shared: Mapping[str, Tensor], names: Collection[str]) -> float:
    """Returns the squared distance of two models per tensor; integer tensors count as tensors, not as distance."""
    squares = [float((own[name].double() - shared[name].double()).square().sum())
               for name in names if shared[name].is_floating_point()]
    return math.fsum(squares) / len(names)
