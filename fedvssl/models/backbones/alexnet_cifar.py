"""AlexNet for small images: a 3x3 stem of stride 1 in place of 11x11 with stride 4, which leaves nothing of 32 px.

Five convolutions with 64, 192, 384, 256 and 256 channels; 3x3 max pooling with stride 2 behind the first, the second
and the last of them; no norms. (N, 3, 32, 32) -> (N, 256, 4, 4), 2,448,192 parameters. Pooling rounds up, so that no
border is lost; at 224 px and with the published stem there is nothing to round.

Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, a single-tower version of
the network of Krizhevsky et al., NIPS 2012.
"""

from torch import Tensor, nn

from fedvssl.models.backbones.image import ImageBackbone
from fedvssl.registry import MODELS


@MODELS.register_module()
class AlexNetCIFAR(ImageBackbone):
    """AlexNet's convolutions.

    Shapes:
        Input (N, 3, H, W) float; output (N, 256, ~H/8, ~W/8).
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, 1, 1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True),
        )
        self.feat_dim = 256

    def maps(self, x_NCHW: Tensor) -> Tensor:
        """Returns what the last pooling leaves."""
        return self.features(x_NCHW)
