r"""SimCLR: of 2N views, which is the other one of the same image?

    loss = mean over the 2N views i of -log( exp(s_ij / τ) / Σ_{k≠i} exp(s_ik / τ) ),   s the cosine, j the partner of i

Both views go through the network as one batch. Projector: Linear h-h, BN, ReLU, Linear h-128, BN, without biases, as in
Google's code. Version 2 has three layers, and keeps the first of them for fine-tuning (`SimCLRv2`).

Sources: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020; "Big
Self-Supervised Models are Strong Semi-Supervised Learners", NeurIPS 2020.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from fedvssl.models.image.base import ImageModel, Views, require_positive
from fedvssl.registry import MODELS


def nt_xent(z1_ND: Tensor, z2_ND: Tensor, temperature: float) -> Tensor:
    """Returns the normalised-temperature cross-entropy of embeddings of two views, a scalar.

    Args:
        z1_ND: Embeddings of the first views (N, D), of any length.
        z2_ND: Of the second.
        temperature: τ.
    """
    n = len(z1_ND)
    z = F.normalize(torch.cat([z1_ND, z2_ND]), dim=1)
    logits = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    partners = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(logits, partners)


@MODELS.register_module()
class SimCLR(ImageModel):
    """Contrast within a batch.

    Args:
        backbone: Config of the backbone.
        neck: Config of the projector.
        data_preprocessor: Config of the preprocessor; two views.
        temperature: τ.
    """

    def __init__(self, backbone: dict, neck: dict, data_preprocessor: dict, temperature: float = 0.5) -> None:
        super().__init__(backbone, neck, data_preprocessor)
        self.temperature = require_positive('temperature', temperature)

    def loss(self, inputs: Views, data_samples: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the loss of a batch of N images in two views, N >= 2."""
        z1, z2 = self.embed_all(self.views(inputs)[:2])
        return dict(loss=nt_xent(z1, z2, self.temperature))


@MODELS.register_module()
class SimCLRv2(SimCLR):
    """SimCLR with a deeper projector, whose first layer belongs to what is fine-tuned.

    Its config gives `neck` three layers. `representation` ends behind the first of them.
    """

    def representation(self, x_NCHW: Tensor) -> Tensor:
        """Returns what is fine-tuned (N, D): pooled features behind the projector's first layer, norm and ReLU."""
        return self.neck.first_layer(self.pooled(x_NCHW))
