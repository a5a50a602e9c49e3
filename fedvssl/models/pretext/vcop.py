r"""VCOP, video clip order prediction: three clips of one video are shuffled, the network names the permutation.

With pooled clip features f_0..f_2 (in shuffled order) and the pairs (0, 1), (0, 2), (1, 2):

    h_ij = ReLU(W1 [f_i; f_j] + b1),    logits = W2 Dropout([h_01; h_02; h_12]) + b2

over the 3! = 6 permutations; cross-entropy, initially ln 6 = 1.792. At width 64 the head has 534,022 parameters.

Source: Xu et al., "Self-supervised Spatiotemporal Learning via Video Clip Order Prediction", CVPR 2019.
"""

from itertools import combinations
from math import factorial

import torch
from mmengine.model import BaseModule, kaiming_init, normal_init
from torch import Tensor, nn

from fedvssl.models.video import ClipClassifier
from fedvssl.registry import MODELS


@MODELS.register_module()
class VCOPHead(BaseModule):
    """Pairwise comparison of clip features, then a linear layer over the permutations.

    Args:
        in_channels: Channels of a clip feature.
        num_clips: Clips in a tuple.
        hidden_channels: Width of a pair's hidden vector.
        dropout: Probability of dropping a hidden unit.
    """

    def __init__(self, in_channels: int, num_clips: int = 3, hidden_channels: int = 512, dropout: float = 0.5) -> None:
        super().__init__()
        self.pairs = list(combinations(range(num_clips), 2))
        self.fc1 = nn.Linear(2 * in_channels, hidden_channels)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden_channels * len(self.pairs), factorial(num_clips))

    def init_weights(self) -> None:
        """Initialises as the published head: Kaiming for the pairs, N(0, 0.001) for the permutations."""
        kaiming_init(self.fc1)
        normal_init(self.fc2, std=0.001)

    def forward(self, f_BMC: Tensor) -> Tensor:
        """Returns permutation logits (B, M!) from clip features (B, M, C)."""
        pairs = [torch.relu(self.fc1(torch.cat([f_BMC[:, i], f_BMC[:, j]], dim=1))) for i, j in self.pairs]
        return self.fc2(self.dropout(torch.cat(pairs, dim=1)))


@MODELS.register_module()
class VCOP(ClipClassifier):
    """Clip order prediction; the target is the permutation's index in lexicographic order."""

    def predict(self, inputs: Tensor, data_samples: dict[str, Tensor]) -> Tensor:
        """Returns permutation logits (B, M!) for shuffled tuples (B, M, 3, T, H, W)."""
        batch, clips = inputs.shape[:2]
        pooled = self.features(inputs).mean(dim=(2, 3, 4))
        return self.head(pooled.view(batch, clips, -1))
