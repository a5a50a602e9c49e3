"""The classifier that fine-tuning trains: backbone, global average pool, dropout, one linear layer.

Protocol of CtP and FedVSSL (spec of the published fine-tuning): dropout 0.5, weights from N(0, 0.001), and at test time
the *logits* of a video's clips are averaged. mmaction2's head averages probabilities by default.
"""

import numpy as np
from torch import Tensor

from fedvssl.data.annotations import UNLABELLED
from fedvssl.data.description import Description
from fedvssl.models.base import ClipClassifier
from fedvssl.registry import MODELS


@MODELS.register_module()
class Recognizer(ClipClassifier):
    """Action recognition from one or several clips of a video."""

    def predict(self, inputs: Tensor, data_samples: dict[str, Tensor]) -> Tensor:
        """Returns logits (B, classes), averaged over the M clips of each video; `inputs` is (B, M, 3, T, H, W)."""
        batch, clips = inputs.shape[:2]
        return self.head(self.features(inputs)).view(batch, clips, -1).mean(dim=1)

    def describe(self, target: np.ndarray) -> Description:
        """Names the label, for videos whose target no sampler or augmentation makes."""
        return Description('no label' if target == UNLABELLED else f'label {int(target)}, counted from 0')
