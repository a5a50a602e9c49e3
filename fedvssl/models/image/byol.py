r"""BYOL: each view predicts what a slow copy of the network makes of the other.

    loss = (2 - 2 cos(p1, t2)) + (2 - 2 cos(p2, t1)),   p = predictor(z),  t from the target network

Target: backbone and projector, θ_t ← m θ_t + (1 - m) θ after each step, m from m0 to 1 along half a cosine of the run's
progress (`SlowCopy`). No negatives.

Source: Grill et al., "Bootstrap Your Own Latent", NeurIPS 2020.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from fedvssl.models.image.base import PredictingModel, Views
from fedvssl.models.image.slow_copy import SlowCopy
from fedvssl.registry import MODELS


def squared_distance(p_ND: Tensor, t_ND: Tensor) -> Tensor:
    """Returns 2 - 2 cos(p, t), the mean over a batch; targets (N, D) get no gradient."""
    return 2 - 2 * F.cosine_similarity(p_ND, t_ND.detach(), dim=1).mean()


@MODELS.register_module()
class BYOL(PredictingModel):
    """Prediction of a slow copy; two views.

    Args:
        backbone: Config of the backbone.
        neck: Config of the projector.
        predictor: Config of the predictor.
        data_preprocessor: Config of the preprocessor.
        ema_decay: m0, what the target keeps of itself at a step at the beginning of the run.
        final_ema_decay: m at its end.
    """

    client_local = frozenset({'target'})

    def __init__(self, backbone: dict, neck: dict, predictor: dict, data_preprocessor: dict, ema_decay: float = 0.996,
                 final_ema_decay: float = 1.0) -> None:
        super().__init__(backbone, neck, predictor, data_preprocessor)
        self.target = SlowCopy(dict(backbone=self.backbone, neck=self.neck), ema_decay, final_ema_decay)

    def loss(self, inputs: Views, data_samples: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the loss, from 0 to 8."""
        (p1, p2), (t1, t2) = self.predictions_and_targets(inputs)
        return dict(loss=squared_distance(p1, t2) + squared_distance(p2, t1))

    def predictions_and_targets(self, inputs: Views) -> tuple[list[Tensor], list[Tensor]]:
        """Returns what the network predicts from each of the two views, and what the target makes of it; (N, D)."""
        views = self.views(inputs)[:2]
        with torch.no_grad():
            targets = [self.target.embed(view) for view in views]
        return [self.predictor(self.embed(view)) for view in views], targets

    def init_weights(self) -> None:
        """Initialises the network, then makes the target equal to it."""
        super().init_weights()
        self.target.copy_from(self)

    def before_step(self, progress: float) -> None:
        """At a client's very first step the target starts from the network as it was received."""
        self.target.begin(self)

    def after_step(self, progress: float) -> None:
        """Moves the target."""
        self.target.follow(self, progress)
