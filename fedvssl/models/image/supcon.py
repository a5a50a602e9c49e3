r"""SupCon: SimCLR whose positives are all views of the same class. It needs labels, so it is no self-supervision.

    loss = mean over i of τ/τ₀ · -1/|P(i)| Σ_{p∈P(i)} log( exp(s_ip / τ) / Σ_{a≠i} exp(s_ia / τ) ),   τ₀ = 0.07

This is L_out of the paper, the mean outside the logarithm. The factor τ/τ₀, of the reference code, is 1 by default:
`base_temperature` None. Where every label is there once it is NT-Xent.

Source: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from fedvssl.models.image.base import ImageModel, Views, require_positive
from fedvssl.registry import MODELS


def sup_con(z1_ND: Tensor, z2_ND: Tensor, labels: Tensor, temperature: float,
            base_temperature: float | None = None) -> Tensor:
    """Returns the supervised contrastive loss of embeddings of two views, a scalar.

    Args:
        z1_ND: Embeddings of the first views (N, D), of any length.
        z2_ND: Of the second.
        labels: int64 (N,).
        temperature: τ.
        base_temperature: τ₀; None leaves the factor out.
    """
    z = F.normalize(torch.cat([z1_ND, z2_ND]), dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / temperature).masked_fill(itself, -torch.inf)
    log_share = logits - logits.logsumexp(dim=1, keepdim=True)
    positive = (labels[:, None] == labels[None]).repeat(2, 2) & ~itself
    loss = -(log_share.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1)).mean()
    return loss if base_temperature is None else loss * temperature / base_temperature


@MODELS.register_module()
class SupCon(ImageModel):
    """Contrast between classes.

    Args:
        backbone: Config of the backbone.
        neck: Config of the projector.
        data_preprocessor: Config of the preprocessor; two views.
        temperature: τ.
        base_temperature: τ₀; None leaves the factor out.
    """

    needs_labels = True

    def __init__(self, backbone: dict, neck: dict, data_preprocessor: dict, temperature: float = 0.07,
                 base_temperature: float | None = None) -> None:
        super().__init__(backbone, neck, data_preprocessor)
        self.temperature = require_positive('temperature', temperature)
        self.base_temperature = base_temperature and require_positive('base_temperature', base_temperature)

    def loss(self, inputs: Views, data_samples: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the loss of a batch of N images in two views and their labels (``target``)."""
        z1, z2 = self.embed_all(self.views(inputs)[:2])
        return dict(loss=sup_con(z1, z2, data_samples['target'], self.temperature, self.base_temperature))
