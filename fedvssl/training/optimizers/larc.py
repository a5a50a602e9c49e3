r"""LARC, layer-wise adaptive rate control: LARS's rate, or the given one where that is smaller, and then plain SGD.

With weights w, gradient g, weight decay b, trust coefficient c, for each tensor:

    a = c |w| / (|g| + b |w| + eps),    clipped: a <- min(a / lr, 1)
    g <- a (g + b w);  where |w| or |g| is 0, g stays as it is and is not decayed

and SGD takes g, without weight decay of its own. Biases and norms are adapted like everything else, as in NVIDIA's
apex, whose update this is; there it wraps another optimiser, which no schedule can reach through. `LARS` with
``clip_lr=True, norm_of='separate', lr_in_momentum=False`` differs by its exclusions.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from fedvssl.registry import OPTIMIZERS
from fedvssl.training.optimizers.layerwise import LayerwiseOptimizer, norms, scaled, trust_ratio


@OPTIMIZERS.register_module()
class LARC(LayerwiseOptimizer):
    """SGD with layer-wise controlled rates; in configs ``optimizer=dict(type='fedvssl.LARC', lr=...)``.

    Args:
        params: Parameters, or groups of them, which may override every setting.
        lr: Learning rate; clipped, no layer's is larger.
        momentum: Of the SGD that takes the gradients.
        weight_decay: b above.
        trust_coefficient: c above. The default is apex's; the image codes that this project grew from take 0.001
            and no clipping.
        clip: See above.
        eps: Added to the denominator.
        nesterov: Look ahead by one step of momentum, as torch's SGD does.
        dampening: Share of a gradient, after the first, that the momentum leaves out, as in torch's SGD.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, params: Iterable, lr: float, momentum: float = 0.9, weight_decay: float = 0.0,
                 trust_coefficient: float = 0.02, clip: bool = True, eps: float = 1e-8, nesterov: bool = False,
                 dampening: float = 0.0) -> None:
        super().__init__(params, dict(
            lr=lr, momentum=momentum, weight_decay=weight_decay, trust_coefficient=trust_coefficient, clip=clip,
            eps=eps, nesterov=nesterov, dampening=dampening))

    def _adapt(self, params: list[Tensor], grads: list[Tensor], group: Mapping[str, Any]) -> list[Tensor]:
        w_norm, g_norm = norms(params), norms(grads)
        moving = (w_norm > 0) & (g_norm > 0)
        ratio = trust_ratio(w_norm, g_norm + group['weight_decay'] * w_norm, group, clip=group['clip'])
        adapted = scaled(grads, torch.where(moving, ratio, 1.0))
        if group['weight_decay']:
            torch._foreach_add_(adapted, scaled(params, torch.where(moving, ratio * group['weight_decay'], 0.0)))
        return adapted
