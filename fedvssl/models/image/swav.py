r"""SwAV: from one view, predict which prototypes another view is assigned to.

    loss = mean over the two big views v of mean over all other views w of ℓ(q_v, s_w)
    ℓ(q, s) = -Σ_k q_k log softmax(s / τ)_k,    s = ẑ · ĉ,    q = Sinkhorn(sg s, ε)

Sinkhorn's algorithm divides a batch evenly among the prototypes: rows (a view's code) sum to 1, columns to B / K. The
last L embeddings of each big view can be assigned along with a small batch (`queue_size`); they count for nothing else,
and only once there are L of them and `queue_from` of the run is over. In its first `freeze` the prototypes stay as they
are. Views: 2 big ones and, in the paper, 6 small ones.

Source: Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS 2020.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from fedvssl.errors import ConfigError
from fedvssl.models.contrast import enqueue
from fedvssl.models.image.base import ImageModel, Views, require_positive
from fedvssl.models.image.prototypes import Prototypes
from fedvssl.registry import MODELS


@torch.no_grad()
def sinkhorn(scores_BK: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Returns codes (B, K), whose rows sum to 1 and whose columns to about B / K.

    Args:
        scores_BK: Cosines of B samples with K prototypes.
        epsilon: ε, how soft the codes are.
        iterations: How often columns and rows are scaled in turn.
    """
    log_q_BK = scores_BK / epsilon  # as logarithms, which no small ε makes infinite
    for _ in range(iterations):
        log_q_BK = log_q_BK.log_softmax(dim=0).log_softmax(dim=1)
    return log_q_BK.exp()


def swapped_prediction(codes_NK: Tensor, scores_NK: Tensor, temperature: float) -> Tensor:
    """Returns ℓ, the mean over a batch; codes (N, K) get no gradient."""
    return -(codes_NK.detach() * F.log_softmax(scores_NK / temperature, dim=1)).sum(dim=1).mean()


@MODELS.register_module()
class SwAV(ImageModel):
    """Swapped prediction of cluster assignments; two big views, and any number of small ones.

    Args:
        backbone: Config of the backbone.
        neck: Config of the projector.
        data_preprocessor: Config of the preprocessor.
        num_prototypes: K.
        temperature: τ.
        epsilon: ε.
        iterations: Of Sinkhorn's algorithm.
        queue_size: L, for each of the big views; 0: none.
        queue_from: Share of the run after which the queue is used.
        freeze: Share of the run in which the prototypes do not move.

    Attributes:
        queue: Embeddings (L, 2, D), of length 1.
        queue_pointer: How many ever came in.
    """

    client_local = frozenset({'queue', 'queue_pointer'})
    queue: Tensor
    queue_pointer: Tensor

    def __init__(self, backbone: dict, neck: dict, data_preprocessor: dict, num_prototypes: int = 3000,
                 temperature: float = 0.1, epsilon: float = 0.05, iterations: int = 3, queue_size: int = 0,
                 queue_from: float = 0.0, freeze: float = 0.0) -> None:
        super().__init__(backbone, neck, data_preprocessor)
        if num_prototypes < 2 or iterations < 1 or queue_size < 0:
            raise ConfigError(f'model: SwAV needs num_prototypes >= 2, iterations >= 1 and queue_size >= 0, not '
                              f'{num_prototypes}, {iterations} and {queue_size}')
        self.temperature, self.epsilon = require_positive('temperature', temperature), require_positive('epsilon',
                                                                                                        epsilon)
        self.iterations, self.queue_from, self.freeze = iterations, queue_from, freeze
        self.prototypes = Prototypes(self.neck.out_channels, num_prototypes)
        self.register_buffer('queue', torch.zeros(queue_size, 2, self.neck.out_channels))
        self.register_buffer('queue_pointer', torch.zeros((), dtype=torch.int64))
        self._progress = 0.0

    def before_step(self, progress: float) -> None:
        """Freezes the prototypes or sets them free."""
        self._progress = progress
        self.prototypes.requires_grad_(progress >= self.freeze)

    def loss(self, inputs: Views, data_samples: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the loss; in training mode the embeddings of the big views enter the queue afterwards."""
        embeddings = self.embed_all(self.views(inputs))
        scores = [self.prototypes(z) for z in embeddings]
        losses = [swapped_prediction(self._codes(scores[view], view), other, self.temperature)
                  for view in range(2) for index, other in enumerate(scores) if index != view]
        if self.training and len(self.queue):
            enqueue(self.queue, self.queue_pointer, F.normalize(torch.stack(embeddings[:2], dim=1), dim=2))
        return dict(loss=torch.stack(losses).mean())

    @torch.no_grad()
    def _codes(self, scores_NK: Tensor, view: int) -> Tensor:
        """Returns the codes of a batch, assigned along with the queue where that is in use."""
        used = 0 < len(self.queue) <= self.queue_pointer and self._progress >= self.queue_from
        waiting = [self.prototypes(self.queue[:, view])] if used else []
        return sinkhorn(torch.cat([*waiting, scores_NK]), self.epsilon, self.iterations)[-len(scores_NK):]
