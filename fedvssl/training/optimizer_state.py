"""An optimiser's state as named tensors, so that a run can be continued to the bit and nothing is pickled.

torch numbers parameters by position. Here each tensor is called ``<parameter>.<key>``, e.g.
``backbone.conv1.conv.weight.momentum_buffer`` (SGD) or ``....exp_avg`` (Adam). Settings of the parameter groups are not
state: config and schedule give them anew.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fedvssl.errors import CheckpointError, ConfigError


def optimizer_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, np.ndarray]:
    """Returns a copy of the optimiser's state; empty before the first step, and for SGD without momentum.

    Raises:
        ConfigError: If the optimiser keeps something else than tensors.
    """
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    tensors = {}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if value is None:  # some optimisers announce a buffer that they do not need
                continue
            if not isinstance(value, Tensor):
                raise ConfigError(f'optim_wrapper.optimizer: a run with {type(optimizer).__name__} cannot be resumed: '
                                  f'{key!r} of its state is no tensor, but of type {type(value).__name__}')
            tensors[f'{names[parameter]}.{key}'] = value.detach().cpu().numpy().copy()
    return tensors


def load_optimizer_tensors(model: nn.Module, optimizer: Optimizer, tensors: Mapping[str, np.ndarray]) -> None:
    """Replaces the optimiser's state by what `optimizer_tensors` gave.

    Raises:
        CheckpointError: If a tensor belongs to no parameter of this optimiser.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    trained = [parameter for group in optimizer.param_groups for parameter in group['params']]
    positions = {names[parameter]: position for position, parameter in enumerate(trained)}
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        parameter, _, key = name.rpartition('.')
        if parameter not in positions:
            raise CheckpointError(f'the optimiser has no parameter {parameter!r}, of which there is a saved {key!r}')
        state.setdefault(positions[parameter], {})[key] = torch.from_numpy(np.array(tensor))
    optimizer.load_state_dict({**optimizer.state_dict(), 'state': state})  # which also moves tensors to their device
