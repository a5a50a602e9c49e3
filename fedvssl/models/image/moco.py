r"""MoCo versions 1 and 2 on images: which of many keys comes from the same image as the query?

    loss = -log( exp(q k+ / τ) / (exp(q k+ / τ) + Σ_i exp(q k_i / τ)) )

The query q is view 0 through the network, k+ view 1 through its slow copy (`SlowCopy`, constant m), the k_i the last K
keys, first in, first out; all of length 1. Version 1: linear projector, τ = 0.07; version 2: Linear h-h, ReLU, Linear
h-128, no norm, τ = 0.2, blur and a cosine. As published, K = 65,536 and m = 0.999; for CIFAR 4,096 and 0.99.

The published code shuffles keys among GPUs, so that batch norms do not give the partner away; on one device that is a
no-op, and is left out. Any batch size will do: the queue wraps around. Queue and slow copy stay with a client.

Sources: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020; Chen et al.,
arXiv:2003.04297.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from fedvssl.errors import ConfigError
from fedvssl.models.contrast import contrast, enqueue
from fedvssl.models.image.base import ImageModel, Views, require_positive
from fedvssl.models.image.slow_copy import SlowCopy
from fedvssl.registry import MODELS


def info_nce(q_ND: Tensor, k_ND: Tensor, queue_KD: Tensor, temperature: float) -> Tensor:
    """Returns the loss of queries (N, D) with their keys (N, D) and older ones (K, D), all of length 1; a scalar."""
    logits = contrast(q_ND, k_ND, queue_KD) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))


@MODELS.register_module()
class MoCoV2(ImageModel):
    """Momentum contrast; two views.

    Args:
        backbone: Config of the backbone.
        neck: Config of the projector.
        data_preprocessor: Config of the preprocessor.
        queue_size: K.
        temperature: τ.
        ema_decay: m, what the slow copy keeps of itself at a step.

    Attributes:
        queue: Keys (K, D), of length 1.
        queue_pointer: How many keys ever came in.
    """

    client_local = frozenset({'keys', 'queue', 'queue_pointer'})
    queue: Tensor
    queue_pointer: Tensor

    def __init__(self, backbone: dict, neck: dict, data_preprocessor: dict, queue_size: int = 65536,
                 temperature: float = 0.2, ema_decay: float = 0.999) -> None:
        if not isinstance(queue_size, int) or queue_size < 1:
            raise ConfigError(f'model.queue_size: must be an integer of at least 1, not {queue_size!r}')
        super().__init__(backbone, neck, data_preprocessor)
        self.temperature = require_positive('temperature', temperature)
        self.keys = SlowCopy(dict(backbone=self.backbone, neck=self.neck), ema_decay, ema_decay)
        self.register_buffer('queue', torch.zeros(queue_size, self.neck.out_channels))
        self.register_buffer('queue_pointer', torch.zeros((), dtype=torch.int64))

    def init_weights(self) -> None:
        """Initialises the network, makes the slow copy equal to it, and fills the queue at random."""
        super().init_weights()
        self.keys.copy_from(self)
        with torch.no_grad():
            self.queue.copy_(F.normalize(torch.randn(self.queue.shape), dim=1))

    def loss(self, inputs: Views, data_samples: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the loss; in training mode the keys enter the queue afterwards."""
        first, second = self.views(inputs)[:2]
        q_ND = F.normalize(self.embed(first), dim=1)
        with torch.no_grad():
            k_ND = F.normalize(self.keys.embed(second), dim=1)
        loss = info_nce(q_ND, k_ND, self.queue.clone(), self.temperature)  # a copy, for backward to find unchanged
        if self.training:
            enqueue(self.queue, self.queue_pointer, k_ND)
        return dict(loss=loss)

    def before_step(self, progress: float) -> None:
        """At a client's very first step the slow copy starts from the network as it was received."""
        self.keys.begin(self)

    def after_step(self, progress: float) -> None:
        """Moves the slow copy."""
        self.keys.follow(self, progress)


@MODELS.register_module()
class MoCoV1(MoCoV2):
    """Version 1: its config gives `neck` a single layer; τ is 0.07 by default."""

    def __init__(self, backbone: dict, neck: dict, data_preprocessor: dict, queue_size: int = 65536,
                 temperature: float = 0.07, ema_decay: float = 0.999) -> None:
        super().__init__(backbone, neck, data_preprocessor, queue_size, temperature, ema_decay)
