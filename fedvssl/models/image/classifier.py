"""The classifier that fine-tuning trains on images: backbone, global average pool, dropout, one linear layer."""

from mmengine.model import BaseModule
from torch import Tensor, nn

from fedvssl.models.base import Classifier
from fedvssl.models.image.base import last_map, pool
from fedvssl.registry import MODELS


@MODELS.register_module()
class ImageHead(BaseModule):
    """Dropout and a linear layer.

    Args:
        num_classes: Number of classes.
        in_channels: Dimensions of the features, set by the model.
        dropout: Share of the features dropped in training.
    """

    def __init__(self, num_classes: int, in_channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, h_NC: Tensor) -> Tensor:
        """Returns logits (N, classes)."""
        return self.fc(self.dropout(h_NC))


@MODELS.register_module()
class ImageClassifier(Classifier):
    """Classification of images (B, 3, H, W).

    Args:
        backbone: Config of the backbone; it must tell its number of output channels as ``feat_dim``.
        head: Config of the head, e.g. an `ImageHead`.
        data_preprocessor: Config of the preprocessor.
    """

    learns_labels = True
    task = 'finetune'

    def __init__(self, backbone: dict, head: dict, data_preprocessor: dict) -> None:
        super().__init__(data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.head = MODELS.build(dict(head, in_channels=self.backbone.feat_dim))

    def features(self, inputs: Tensor) -> Tensor:
        """Returns the feature maps (B, C, h, w)."""
        return last_map(self.backbone(inputs))

    def predict(self, inputs: Tensor, data_samples: dict[str, Tensor]) -> Tensor:
        """Returns logits (B, classes)."""
        return self.head(pool(self.backbone(inputs)))


@MODELS.register_module()
class ImageLinearProbe(ImageClassifier):
    """A classifier that learns nothing but its head; the backbone stays in evaluation mode."""

    task = 'linear'

    def __init__(self, backbone: dict, head: dict, data_preprocessor: dict) -> None:
        super().__init__(backbone, head, data_preprocessor)
        self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> 'ImageLinearProbe':
        """Sets the mode of the head."""
        super().train(mode)
        self.backbone.eval()
        return self
