"""What LARS and LARC share: whole lists of parameters in a few kernels, and SGD's update of what they make of them.

Norms and factors stay on the device as tensors: a step asks the device for no number, so nothing waits for it.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class LayerwiseOptimizer(Optimizer):
    """An optimiser that changes gradients layer by layer and hands them to SGD with momentum.

    As in torch, the first gradient enters the momentum buffer undamped, and parameters without gradient are skipped.

    Args:
        params: Parameters, or groups of them.
        defaults: Settings that a group may override.

    Raises:
        ValueError: If a setting is out of its range.
    """

    def __init__(self, params: Iterable, defaults: dict[str, Any]) -> None:
        super().__init__(params, defaults)
        for group in self.param_groups:
            self._check(group)

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:
        """Updates all parameters.

        Args:
            closure: Computes the loss anew, with gradients.

        Returns:
            What `closure` returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group, params in self._batches():
            grads = [param.grad for param in params if param.grad is not None]  # which those in `params` all have
            updates = self._adapt(params, grads, group)
            self._descend(params, updates, group)
        return loss

    def _batches(self) -> list[tuple[dict[str, Any], list[Tensor]]]:
        """Returns settings and the parameters they hold for, on one device and of one type.

        mmengine makes a group of each single parameter where a config treats some of them differently; those that are
        to be treated alike are brought together again here.
        """
        batches: dict[tuple, tuple[dict[str, Any], list[Tensor]]] = {}
        for group in self.param_groups:
            settings = tuple(group.get(key) for key in self.defaults)
            for param in group['params']:
                if param.grad is None:
                    continue
                if param.grad.is_sparse:
                    raise RuntimeError(f'{type(self).__name__} does not take sparse gradients')
                key = (settings, param.device, param.dtype, self._kind(param))
                batches.setdefault(key, (group, []))[1].append(param)
        return list(batches.values())

    def _kind(self, param: Tensor) -> Any:
        """Returns what else parameters must have in common to be updated together."""
        return None

    @abstractmethod
    def _adapt(self, params: list[Tensor], grads: list[Tensor], group: Mapping[str, Any]) -> list[Tensor]:
        """Returns what SGD is to take for the gradients, in new tensors, which become momentum buffers."""

    def _descend(self, params: list[Tensor], updates: list[Tensor], group: Mapping[str, Any]) -> None:
        """Changes the parameters by -lr times the updates, with momentum."""
        torch._foreach_add_(params, self._with_momentum(params, updates, group), alpha=-group['lr'])

    def _with_momentum(self, params: list[Tensor], updates: list[Tensor], group: Mapping[str, Any]) -> list[Tensor]:
        """Adds the updates to the momentum buffers, or makes these of them, and returns by what to move."""
        if not group['momentum']:
            return updates
        old, fresh = [], []
        for param, update in zip(params, updates, strict=True):
            state = self.state[param]
            if state.get('momentum_buffer') is None:
                state['momentum_buffer'] = update
            else:
                old.append(state['momentum_buffer'])
                fresh.append(update)
        if old:
            torch._foreach_mul_(old, group['momentum'])
            torch._foreach_add_(old, fresh, alpha=1 - group['dampening'])
        buffers = [self.state[param]['momentum_buffer'] for param in params]
        ahead = torch._foreach_add(updates, buffers, alpha=group['momentum']) if group['nesterov'] else buffers
        return list(ahead)

    def _check(self, group: Mapping[str, Any]) -> None:
        """Checks the settings of one group."""
        name = type(self).__name__
        for key in ('lr', 'momentum', 'weight_decay', 'dampening', 'eps'):
            if not 0 <= group[key] < float('inf'):
                raise ValueError(f'{name}: {key} must be 0 or more, not {group[key]}')
        if not 0 < group['trust_coefficient'] < float('inf'):
            raise ValueError(f'{name}: trust_coefficient must be above 0, not {group["trust_coefficient"]}')
        if group['nesterov'] and (not group['momentum'] or group['dampening']):
            raise ValueError(f'{name}: nesterov needs a momentum and no dampening, not momentum={group["momentum"]}, '
                             f'dampening={group["dampening"]}')


def norms(tensors: list[Tensor]) -> Tensor:
    """Returns the Euclidean norm of each of n tensors, (n,), on their device."""
    return torch.stack(torch._foreach_norm(tensors))


def scaled(tensors: list[Tensor], factors: Tensor) -> list[Tensor]:
    """Returns each of n tensors times its factor, in new tensors.

    Args:
        tensors: The tensors.
        factors: (n,).
    """
    return list(torch._foreach_mul(tensors, list(factors.unbind())))


def trust_ratio(w_norm: Tensor, denominator: Tensor, group: Mapping[str, Any], clip: bool) -> Tensor:
    """Returns trust_coefficient |w| / (denominator + eps), the rate of each layer.

    Where a norm is 0 the result means nothing, and may be infinite or NaN.

    Args:
        w_norm: Norms of the parameters, (n,).
        denominator: Norms of what is to move them, (n,).
        group: ``trust_coefficient``, ``eps``, ``lr``.
        clip: Whether to divide by the learning rate and take no more than 1, so that times the learning rate it is the
            smaller of the two rates.
    """
    ratio = group['trust_coefficient'] * w_norm / (denominator + group['eps'])
    # A warm-up begins with lr = 0: divided by it, a tensor is infinite, and clipped.
    return (ratio / group['lr']).clamp(max=1) if clip else ratio
