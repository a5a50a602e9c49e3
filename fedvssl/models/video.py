"""What all video models share: a backbone and a head on clips."""

from torch import Tensor

from fedvssl.models.base import BackboneModel, Classifier
from fedvssl.registry import MODELS


class VideoModel(BackboneModel):
    """Backbone and head; what `forward` takes are normalised clips (B, M, 3, T, H, W), M clips a sample.

    Args:
        backbone: Config of the backbone; it must tell its number of output channels as ``feat_dim``.
        head: Config of the head, built with ``in_channels`` set to the backbone's ``feat_dim``.
        data_preprocessor: Config of the preprocessor.
    """

    def __init__(self, backbone: dict, head: dict, data_preprocessor: dict) -> None:
        super().__init__(data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.head = MODELS.build(dict(head, in_channels=self.backbone.feat_dim))

    def features(self, inputs: Tensor) -> Tensor:
        """Returns the feature maps of all clips, (B * M, C, T', H', W')."""
        return self.backbone(inputs.flatten(0, 1))


class ClipClassifier(Classifier, VideoModel):
    """A video model whose task is a classification."""


class PooledClassifier(ClipClassifier):
    """A classifier whose head pools each clip's feature maps itself, such as mmaction2's ``I3DHead``."""

    def predict(self, inputs: Tensor, data_samples: dict[str, Tensor]) -> Tensor:
        """Returns logits (B, classes), averaged over the M clips of each video; `inputs` is (B, M, 3, T, H, W)."""
        batch, clips = inputs.shape[:2]
        return self.head(self.features(inputs)).view(batch, clips, -1).mean(dim=1)
