"""Conv4, a network for trying things out on a CPU: four 3x3 convolutions with batch norm and ReLU.

Widths w, 2w, 4w and 4w with w = 32; 2x2 max pooling behind each of the first three: 241,184 parameters and 25.3 MFLOP
(a multiply-add is two) on 32x32 pixels, a forty-fourth of ResNet-18's. (N, 3, 32, 32) -> (N, 128, 4, 4).
"""

from itertools import pairwise

from torch import Tensor, nn

from fedvssl.models.backbones.image import ImageBackbone, require_width
from fedvssl.registry import MODELS


@MODELS.register_module()
class Conv4(ImageBackbone):
    """Four convolutions.

    Args:
        width: Channels of the first one.

    Shapes:
        Input (N, 3, H, W) float; output (N, 4 * width, ⌊H/8⌋, ⌊W/8⌋).

    Raises:
        ConfigError: If `width` is not a positive whole number.
    """

    def __init__(self, width: int = 32) -> None:
        require_width('Conv4', width)
        super().__init__()
        widths = (3, width, 2 * width, 4 * width, 4 * width)
        layers: list[nn.Module] = []
        for place, (ins, outs) in enumerate(pairwise(widths)):
            layers += [nn.MaxPool2d(2)] if place else []
            layers += [nn.Conv2d(ins, outs, 3, 1, 1, bias=False), nn.BatchNorm2d(outs), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.feat_dim = widths[-1]

    def maps(self, x_NCHW: Tensor) -> Tensor:
        """Returns the last convolution's output."""
        return self.features(x_NCHW)
