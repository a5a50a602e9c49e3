"""The classifier that fine-tuning trains: backbone, global average pool, dropout, one linear layer.

Protocol of CtP and FedVSSL (spec of the published fine-tuning): dropout 0.5, weights from N(0, 0.001), and at test time
the *logits* of a video's clips are averaged. mmaction2's head averages probabilities by default.
"""

import numpy as np

from fedvssl.data.annotations import UNLABELLED
from fedvssl.data.description import Description
from fedvssl.models.video import PooledClassifier
from fedvssl.registry import MODELS


@MODELS.register_module()
class Recognizer(PooledClassifier):
    """Action recognition from one or several clips of a video."""

    learns_labels = True
    task = 'finetune'

    def describe(self, target: np.ndarray) -> Description:
        """Names the label, for videos whose target no sampler or augmentation makes."""
        return Description('no label' if target == UNLABELLED else f'label {int(target)}, counted from 0')
