"""Directions that embeddings are compared with: SwAV's prototypes, DINO's last layer."""

from torch import Tensor, nn
from torch.nn import functional as F


class Prototypes(nn.Linear):
    """Cosines with K directions.

    The rows of the weight are scaled to length 1 in each forward pass, as weight normalisation with a fixed length
    does; so it does not matter what an optimiser or an average over clients makes of their lengths.

    Args:
        dimensions: Of an embedding, D.
        count: K.
    """

    def __init__(self, dimensions: int, count: int) -> None:
        super().__init__(dimensions, count, bias=False)

    def forward(self, z_ND: Tensor) -> Tensor:
        """Returns cosines (N, K) of embeddings (N, D) of any length."""
        return F.linear(F.normalize(z_ND, dim=1), F.normalize(self.weight, dim=1))
