r"""MoCo version 3: BYOL's network with a contrastive loss among the batch's own keys.

    loss = 2τ · [ CE(p1 k2ᵀ / τ) + CE(p2 k1ᵀ / τ) ],    the right key of query i is key i

p: predictor(projector(backbone)) of length 1; k: projector(backbone) of the slow copy (`SlowCopy`), likewise; no queue.
m from 0.99 to 1 along half a cosine; τ = 1 for ResNet-50, 0.2 for vision transformers and, in solo-learn, for CIFAR.

Source: Chen, Xie and He, "An Empirical Study of Training Self-Supervised Vision Transformers", ICCV 2021.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from fedvssl.models.image.base import Views, require_positive
from fedvssl.models.image.byol import BYOL
from fedvssl.registry import MODELS


def in_batch_contrast(p_ND: Tensor, k_ND: Tensor, temperature: float) -> Tensor:
    """Returns 2τ times the cross-entropy of each query (N, D) among all keys (N, D), of any length; a scalar."""
    logits = F.normalize(p_ND, dim=1) @ F.normalize(k_ND.detach(), dim=1).T / temperature
    return 2 * temperature * F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


@MODELS.register_module()
class MoCoV3(BYOL):
    """Momentum contrast without a queue; two views.

    Args:
        backbone: Config of the backbone.
        neck: Config of the projector.
        predictor: Config of the predictor.
        data_preprocessor: Config of the preprocessor.
        temperature: τ.
        ema_decay: m at the beginning of the run.
        final_ema_decay: m at its end.
    """

    def __init__(self, backbone: dict, neck: dict, predictor: dict, data_preprocessor: dict, temperature: float = 1.0,
                 ema_decay: float = 0.99, final_ema_decay: float = 1.0) -> None:
        super().__init__(backbone, neck, predictor, data_preprocessor, ema_decay, final_ema_decay)
        self.temperature = require_positive('temperature', temperature)

    def loss(self, inputs: Views, data_samples: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the loss of a batch of N images in two views, N >= 2."""
        (p1, p2), (k1, k2) = self.predictions_and_targets(inputs)
        return dict(loss=in_batch_contrast(p1, k2, self.temperature) + in_batch_contrast(p2, k1, self.temperature))
