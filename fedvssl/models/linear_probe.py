"""The linear probe of FedVSSL's experiments: a frozen backbone under a normalised linear layer.

    z = FC(BN(h / ‖h‖₂)),  h = the feature maps' mean over time, height and width

At test time the logits of a video's clips are averaged, as in fine-tuning. The published code stopped the backbone's
gradients but left its batch norms in training mode: features depended on the other clips of a batch, and the running
statistics drifted towards the probed set for 100 epochs, so that what was tested was no longer what had been
pretrained. Here the whole backbone is in evaluation mode; ``train_norms=True`` gives the published behaviour.

Source: Rehman et al., "Federated Self-supervised Learning for Video Understanding", ECCV 2022, and its code.
"""

from mmengine.model import BaseModule, normal_init
from torch import Tensor, nn
from torch.nn import functional as F

from fedvssl.models.recognizer import Recognizer
from fedvssl.registry import MODELS


@MODELS.register_module()
class LinearProbe(Recognizer):
    """A recogniser that learns nothing but its head.

    Args:
        backbone: Config of the backbone, which is frozen.
        head: Config of the head, e.g. ``dict(type='LinearProbeHead', num_classes=101)``.
        data_preprocessor: Config of the preprocessor.
        train_norms: Whether the backbone's batch norms use, and average, the statistics of training batches.
    """

    task = 'linear'

    def __init__(self, backbone: dict, head: dict, data_preprocessor: dict, train_norms: bool = False) -> None:
        super().__init__(backbone, head, data_preprocessor)
        self.backbone.requires_grad_(False)
        self.train_norms = train_norms

    def train(self, mode: bool = True) -> 'LinearProbe':
        """Sets the mode of the head; the backbone stays in evaluation mode unless `train_norms`."""
        super().train(mode)
        self.backbone.train(mode and self.train_norms)
        return self


@MODELS.register_module()
class LinearProbeHead(BaseModule):
    """Pools globally, scales each clip's features to length 1, standardises them over the batch, and maps to classes.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the feature maps, C.
        init_std: Standard deviation of the initial weights (published: 0.001).

    Shapes:
        Input (N, C, T', H', W'); output (N, num_classes).
    """

    def __init__(self, num_classes: int, in_channels: int, init_std: float = 0.001) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(in_channels)
        self.fc = nn.Linear(in_channels, num_classes)
        self.init_std = init_std

    def init_weights(self) -> None:
        """Draws the linear layer's weights; its biases are 0, and the norm starts as standardisation alone."""
        normal_init(self.fc, std=self.init_std)

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """Returns the logits of each clip."""
        pooled = x_NCTHW.mean(dim=(2, 3, 4))
        return self.fc(self.norm(F.normalize(pooled, dim=1)))
