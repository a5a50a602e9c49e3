"""VGG-11 to -19, with batch norm or without, up to the last pooling.

Five groups of 3x3 convolutions with 64, 128, 256, 512 and 512 channels, each followed by 2x2 max pooling:
(N, 3, 32, 32) -> (N, 512, 1, 1). The published classifier wants 7x7 maps; filled with copies of one pixel, as is done
to apply it to 32 px, they are 25,088 features with 512 values.

Pooling rounds up, which changes nothing at multiples of 32 px, and lets smaller crops through. VGG-16 has 14,714,688
parameters, or 14,723,136 with norms. The convolutions keep their biases before a norm, as published.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015.
"""

from itertools import pairwise

from torch import Tensor, nn

from fedvssl.models.backbones.image import ImageBackbone, require_choice
from fedvssl.registry import MODELS

WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions a group


@MODELS.register_module()
class VGGCIFAR(ImageBackbone):
    """A VGG network without its classifier.

    Args:
        depth: 11, 13, 16 or 19.
        bn: Whether each convolution is followed by batch norm.

    Shapes:
        Input (N, 3, H, W) float; output (N, 512, ⌈H/32⌉, ⌈W/32⌉).

    Raises:
        ConfigError: If there is no such depth.
    """

    def __init__(self, depth: int = 11, bn: bool = True) -> None:
        require_choice('VGGCIFAR', 'depth', depth, DEPTHS)
        super().__init__()
        layers: list[nn.Module] = []
        for (ins, outs), length in zip(pairwise((3, *WIDTHS)), DEPTHS[depth], strict=True):
            for place in range(length):
                layers += convolution(outs if place else ins, outs, bn)
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.feat_dim = WIDTHS[-1]

    def maps(self, x_NCHW: Tensor) -> Tensor:
        """Returns what the last pooling leaves."""
        return self.features(x_NCHW)


def convolution(in_channels: int, out_channels: int, bn: bool) -> list[nn.Module]:
    """Returns a 3x3 convolution, its norm if it is to have one, and ReLU."""
    norm = [nn.BatchNorm2d(out_channels)] if bn else []
    return [nn.Conv2d(in_channels, out_channels, 3, 1, 1), *norm, nn.ReLU(inplace=True)]
