r"""SimSiam: each view predicts the other's embedding, which is held fixed.

    loss = ½ D(p1, sg z2) + ½ D(p2, sg z1),   D(p, z) = -cos(p, z),   p = predictor(z)

No negatives and no slow copy: the stopped gradient and the predictor keep it from collapsing, and the predictor's
learning rate stays constant (``paramwise_cfg=dict(custom_keys={'predictor': dict(fix_lr=True)})``). The views go
through the network one after the other, each with batch statistics of its own.

Source: Chen and He, "Exploring Simple Siamese Representation Learning", CVPR 2021.
"""

from torch import Tensor
from torch.nn import functional as F

from fedvssl.models.image.base import PredictingModel, Views
from fedvssl.registry import MODELS


def negative_cosine(p_ND: Tensor, z_ND: Tensor) -> Tensor:
    """Returns D, the negative mean cosine of predictions (N, D) and embeddings (N, D), which get no gradient."""
    return -F.cosine_similarity(p_ND, z_ND.detach(), dim=1).mean()


@MODELS.register_module()
class SimSiam(PredictingModel):
    """Mutual prediction with a stopped gradient; two views.

    Args:
        backbone: Config of the backbone.
        neck: Config of the projector.
        predictor: Config of the predictor.
        data_preprocessor: Config of the preprocessor.
    """

    def loss(self, inputs: Views, data_samples: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the loss, from -1 (all alike) to 1."""
        z1, z2 = (self.embed(view) for view in self.views(inputs)[:2])
        p1, p2 = self.predictor(z1), self.predictor(z2)
        return dict(loss=(negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2)
