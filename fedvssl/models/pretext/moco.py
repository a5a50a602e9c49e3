r"""Video MoCo, momentum contrast: which of many keys comes from the same video as the query?

Two clips of a video are augmented independently. Encoder and projector map clip 0 to the query q; their slow copies
map clip 1 to the key k+; both have length 1. K older keys k_i wait in a queue, first in, first out. With temperature
τ = 0.2:

    loss = -log( exp(q k+ / τ) / (exp(q k+ / τ) + Σ_i exp(q k_i / τ)) ),    θ_k ← m θ_k + (1 - m) θ_q,    m = 0.999

No gradient reaches keys. The projector is Linear C-C, ReLU, Linear C-128. Clips: 16 frames at a stride from 1 to 4,
jittered, two a sample (`fedvssl.data.sampling.RandomClipSampler`), with ``independent_clips=True``.

Loss at the start: a random network maps all clips to similar directions (s = q k+ is about 0.8 on noise), while the
queue holds random ones in D dimensions, so that the loss is about ln(1 + K exp(1 / (2 D τ²) - s / τ)), 7.1 as
published. Once K keys have replaced those, all keys are alike and the loss is near ln(1 + K) = 11.1, from where it
falls again.

Where we differ from the published code, which needs several GPUs:

- Keys are computed on their own batch. The published code shuffles them among GPUs first; otherwise a query and its
  partner are batch-normalised with statistics of the same samples, by which a network can tell the partner without
  having learnt anything of the video. One process has nowhere to shuffle to: judge the features, not the loss.
- Any batch size will do: the queue wraps around.
- A client that trains for the first time starts its slow copies from the model that it received, not from the run's
  initial weights.

In a federation, everything but the backbone stays with the client: projector, slow copies and queue, 169 MB a client
as published. They wait from one of its rounds to the next while the backbone moves on. FedAvg averages the projector as
well; slow copies and queue never leave the client.

Sources: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020; Chen et al.,
"Improved Baselines with Momentum Contrastive Learning", arXiv:2003.04297 (projector, τ); Wang et al. (CtP), CVPR
2021, whose code has the video version.
"""

from copy import deepcopy

import numpy as np
import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from fedvssl.data.description import Description
from fedvssl.errors import ConfigError
from fedvssl.models.base import share_correct
from fedvssl.models.contrast import contrast, enqueue, share_of_partners
from fedvssl.models.video import VideoModel
from fedvssl.registry import MODELS


@MODELS.register_module()
class MoCoHead(BaseModule):
    """The projector.

    Args:
        in_channels: Channels of a clip feature.
        hidden_channels: Width of the hidden layer; by default that of the input.
        out_channels: Dimensions of an embedding, D.
    """

    def __init__(self, in_channels: int, hidden_channels: int | None = None, out_channels: int = 128) -> None:
        super().__init__()
        hidden_channels = hidden_channels or in_channels
        self.fc1 = nn.Linear(in_channels, hidden_channels)
        self.fc2 = nn.Linear(hidden_channels, out_channels)
        self.out_channels = out_channels

    def forward(self, f_BC: Tensor) -> Tensor:
        """Returns embeddings (B, D) of length 1 from clip features (B, C)."""
        return F.normalize(self.fc2(torch.relu(self.fc1(f_BC))), dim=1)


@MODELS.register_module()
class MoCo(VideoModel):
    """Momentum contrast between two clips of each video.

    Args:
        backbone: Config of the encoder.
        head: Config of the projector.
        data_preprocessor: Config of the preprocessor.
        queue_size: Keys that wait as negatives, K.
        momentum: Share of the slow copies that a step keeps, m.
        temperature: Divides the cosines, τ.

    Attributes:
        queue: Keys (K, D), of length 1.
        queue_pointer: How many keys ever came in; the next one takes place ``queue_pointer % K``.
    """

    client_local = frozenset({'key_encoder', 'key_head', 'queue', 'queue_pointer'})
    wants_target = False
    wants_independent_clips = True
    queue: Tensor
    queue_pointer: Tensor

    def __init__(self, backbone: dict, head: dict, data_preprocessor: dict, queue_size: int = 65536,
                 momentum: float = 0.999, temperature: float = 0.2) -> None:
        if queue_size < 1 or not 0 <= momentum < 1 or temperature <= 0:
            raise ConfigError(f'MoCo: needs queue_size >= 1, 0 <= momentum < 1 and temperature > 0, not {queue_size}, '
                              f'{momentum} and {temperature}')
        super().__init__(backbone, head, data_preprocessor)
        self.momentum, self.temperature = momentum, temperature
        self.key_encoder = deepcopy(self.backbone).requires_grad_(False)
        self.key_head = deepcopy(self.head).requires_grad_(False)
        self.register_buffer('queue', torch.zeros(queue_size, self.head.out_channels))
        self.register_buffer('queue_pointer', torch.zeros((), dtype=torch.int64))

    def init_weights(self) -> None:
        """Initialises encoder and projector, then makes the slow copies equal to them and fills the queue at random."""
        super().init_weights()
        self._copy_to_keys()
        with torch.no_grad():
            self.queue.copy_(F.normalize(torch.randn(self.queue.shape), dim=1))

    def loss(self, inputs: Tensor, data_samples: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the contrastive loss and how often the partner is the nearest of all 1 + K keys.

        In training mode, the slow copies take their step before the keys are computed, and the keys enter the queue
        afterwards; in evaluation mode nothing changes.
        """
        queries, clips = _pair(inputs)
        if self.training:
            self._update_keys()
        q_BD = embed(self.backbone, self.head, queries)
        with torch.no_grad():
            k_BD = embed(self.key_encoder, self.key_head, clips)
        logits = contrast(q_BD, k_BD, self.queue.clone()) / self.temperature  # a copy, for backward to find unchanged
        if self.training:
            enqueue(self.queue, self.queue_pointer, k_BD)
        first = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        return dict(loss=F.cross_entropy(logits, first), accuracy=share_correct(logits, first))

    def predict(self, inputs: Tensor, data_samples: dict[str, Tensor]) -> Tensor:
        """Returns the embeddings (B, 2, D) of both clips by the encoder that is trained."""
        _pair(inputs)
        return embed(self.backbone, self.head, inputs.flatten(0, 1)).view(len(inputs), 2, -1)

    def score(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Returns the share of samples whose second clip is the nearest of all n second clips to the first.

        Args:
            predictions: Embeddings (n, 2, D).
            targets: Not read. Chance is 1 / n, so compare only equal n.
        """
        return dict(accuracy=share_of_partners(predictions))

    def describe(self, target: np.ndarray) -> Description:
        """Names the two clips; there is no target."""
        return Description('two clips of one video', ('query', 'key'))

    def _pairs_of_modules(self) -> tuple[tuple[nn.Module, nn.Module], ...]:
        return (self.backbone, self.key_encoder), (self.head, self.key_head)

    def _copy_to_keys(self) -> None:
        for module, copy in self._pairs_of_modules():
            copy.load_state_dict(module.state_dict())

    @torch.no_grad()
    def _update_keys(self) -> None:
        """Moves the slow copies' parameters; their batch norms gather statistics of their own, as published."""
        if self.queue_pointer == 0:
            self._copy_to_keys()
            return
        for module, copy in self._pairs_of_modules():
            for parameter, slow in zip(module.parameters(), copy.parameters(), strict=True):
                slow.mul_(self.momentum).add_(parameter, alpha=1 - self.momentum)


def embed(encoder: nn.Module, projector: nn.Module, x_BCTHW: Tensor) -> Tensor:
    """Returns the embeddings (B, D) of clips (B, 3, T, H, W)."""
    return projector(encoder(x_BCTHW).mean(dim=(2, 3, 4)))


def _pair(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Splits samples of two clips (B, 2, 3, T, H, W).

    Raises:
        ConfigError: If there are not two.
    """
    if inputs.shape[1] != 2:
        raise ConfigError(f'MoCo: needs samples of 2 clips, not {inputs.shape[1]}; set num_clips=2 in the sampler')
    return inputs[:, 0], inputs[:, 1]
