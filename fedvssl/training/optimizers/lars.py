r"""LARS, layer-wise adaptive rate scaling: each layer's step is a fixed share of the norm of its weights.

With weights w, gradient g, weight decay b, trust coefficient c, for each tensor:

    g' = g + b w
    t  = c |w| / (|g'| + eps)           norm_of='sum'        Google's SimCLR and BYOL
    t  = c |w| / (|g| + b |w| + eps)    norm_of='separate'   the paper, mmpretrain, lightly
    t  = 1 where |w| or the denominator is 0: biases that begin at 0 must move
    t  = min(t / lr, 1)                 clip_lr=True: the smaller of two rates (LARC, solo-learn)

    v <- m v + lr t g',    w <- w - v        lr_in_momentum=True     the paper, Google, mmpretrain
    v <- m v + t g',       w <- w - lr v     lr_in_momentum=False    lightly, solo-learn, timm

The last two are the same while lr is constant; while it falls, the first keeps the larger steps of before in v. Biases
and the parameters of normalisation (all of at most one dimension) are not adapted and not decayed, by shape rather than
by name: the usual rule ``'bn' in name`` misses norms inside an ``nn.Sequential``.

Source: You et al., "Large Batch Training of Convolutional Networks", arXiv 1708.03888, algorithm 1; without its
polynomial decay, which is the schedule's.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from fedvssl.registry import OPTIMIZERS
from fedvssl.training.optimizers.layerwise import LayerwiseOptimizer, norms, scaled, trust_ratio

NORMS = ('sum', 'separate')


@OPTIMIZERS.register_module()
class LARS(LayerwiseOptimizer):
    """SGD with layer-wise adapted rates; in configs ``optimizer=dict(type='fedvssl.LARS', lr=...)``.

    A parameter group may override every setting. One with ``lars_exclude=True``, such as
    ``paramwise_cfg=dict(custom_keys={'predictor': dict(lars_exclude=True)})`` makes, is not adapted, and decayed as its
    `weight_decay` says.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        momentum: m above.
        weight_decay: b above.
        trust_coefficient: c above; solo-learn takes 0.02 with `clip_lr`.
        eps: Added to the denominator; Google adds nothing.
        nesterov: Look ahead by one step of momentum, as torch's SGD does.
        dampening: Share of a gradient, after the first, that the momentum leaves out, as in torch's SGD.
        clip_lr: See above.
        exclude_1d: Leave tensors of at most one dimension unadapted and undecayed.
        norm_of: ``'sum'`` or ``'separate'``, see above.
        lr_in_momentum: See above.
        lars_exclude: For groups, see above.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, params: Iterable, lr: float, momentum: float = 0.9, weight_decay: float = 0.0,
                 trust_coefficient: float = 1e-3, eps: float = 1e-8, nesterov: bool = False, dampening: float = 0.0,
                 clip_lr: bool = False, exclude_1d: bool = True, norm_of: str = 'sum', lr_in_momentum: bool = True,
                 lars_exclude: bool = False) -> None:
        super().__init__(params, dict(
            lr=lr, momentum=momentum, weight_decay=weight_decay, trust_coefficient=trust_coefficient, eps=eps,
            nesterov=nesterov, dampening=dampening, clip_lr=clip_lr, exclude_1d=exclude_1d, norm_of=norm_of,
            lr_in_momentum=lr_in_momentum, lars_exclude=lars_exclude))

    def _check(self, group: Mapping[str, Any]) -> None:
        super()._check(group)
        if group['norm_of'] not in NORMS:
            raise ValueError(f"LARS: norm_of is 'sum' or 'separate', not {group['norm_of']!r}")

    def _kind(self, param: Tensor) -> bool:
        return param.ndim > 1

    def _adapt(self, params: list[Tensor], grads: list[Tensor], group: Mapping[str, Any]) -> list[Tensor]:
        plain = group['exclude_1d'] and not self._kind(params[0])
        decay = 0 if plain else group['weight_decay']
        decayed = list(torch._foreach_add(grads, params, alpha=decay)) if decay else grads
        if plain or group['lars_exclude']:
            return [grad.clone() for grad in grads] if decayed is grads else decayed
        w_norm = norms(params)
        denominator = norms(decayed) if group['norm_of'] == 'sum' else norms(grads) + decay * w_norm
        ratio = trust_ratio(w_norm, denominator, group, clip=group['clip_lr'])
        return scaled(decayed, torch.where((w_norm > 0) & (denominator > 0), ratio, 1.0))

    def _descend(self, params: list[Tensor], updates: list[Tensor], group: Mapping[str, Any]) -> None:
        if not group['lr_in_momentum']:
            super()._descend(params, updates, group)
            return
        torch._foreach_mul_(updates, group['lr'])
        torch._foreach_sub_(params, self._with_momentum(params, updates, group))
