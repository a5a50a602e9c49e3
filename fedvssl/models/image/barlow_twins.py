r"""Barlow Twins: the cross-correlation of two views' embeddings is to be the identity.

    loss = scale · ( Σ_i (1 - C_ii)² + λ Σ_{i≠j} C_ij² ),    C = ẑ1ᵀ ẑ2 / N

ẑ are the embeddings standardised over the batch, dimension by dimension (biased variance, ε = 1e-5). Projector: h-8192,
BN, ReLU, 8192-8192, BN, ReLU, 8192-8192, without biases; 2048 wide for CIFAR. The paper's code scales the loss by
0.024, solo-learn by 0.1.

Source: Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", ICML 2021.
"""

from torch import Tensor
from torch.nn import functional as F

from fedvssl.models.image.base import ImageModel, Views, require_positive
from fedvssl.registry import MODELS


def barlow_twins(z1_ND: Tensor, z2_ND: Tensor, redundancy: float) -> Tensor:
    """Returns the unscaled loss of embeddings of two views, a scalar.

    Args:
        z1_ND: Embeddings of the first views (N, D).
        z2_ND: Of the second.
        redundancy: λ.
    """
    standardised = (F.batch_norm(z, None, None, training=True, eps=1e-5) for z in (z1_ND, z2_ND))
    first, second = standardised
    c_DD = first.T @ second / len(z1_ND)
    on_diagonal = c_DD.diagonal()
    return (1 - on_diagonal).square().sum() + redundancy * (c_DD.square().sum() - on_diagonal.square().sum())


@MODELS.register_module()
class BarlowTwins(ImageModel):
    """Redundancy reduction; two views.

    Args:
        backbone: Config of the backbone.
        neck: Config of the projector.
        data_preprocessor: Config of the preprocessor.
        redundancy: λ.
        scale: Of the loss.
    """

    def __init__(self, backbone: dict, neck: dict, data_preprocessor: dict, redundancy: float = 0.005,
                 scale: float = 1.0) -> None:
        super().__init__(backbone, neck, data_preprocessor)
        self.redundancy, self.scale = require_positive('redundancy', redundancy), require_positive('scale', scale)

    def loss(self, inputs: Views, data_samples: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the loss of a batch of N images in two views, N >= 2."""
        z1, z2 = (self.embed(view) for view in self.views(inputs)[:2])
        return dict(loss=self.scale * barlow_twins(z1, z2, self.redundancy))
