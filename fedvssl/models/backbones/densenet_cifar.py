"""DenseNet-121 to -201 for small images: the published ImageNet networks with a 3x3 stem of stride 1, unpooled.

In a dense block each layer adds k channels (the growth rate) to all that came before it, through BN-ReLU-1x1 to 4k
channels and BN-ReLU-3x3 to k; between blocks BN-ReLU-1x1 halves the channels, and 2x2 average pooling the resolution.
DenseNet-121 has 6,946,176 parameters: (N, 3, 32, 32) -> (N, 1024, 4, 4).

The authors' own CIFAR networks have three equal blocks (DenseNet-BC-100); these are the ones that the ImageNet tables
name. Their stem, too, ends in BN-ReLU.

Source: Huang et al., "Densely Connected Convolutional Networks", CVPR 2017.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from fedvssl.models.backbones.image import ImageBackbone, require_choice
from fedvssl.registry import MODELS

# Growth rate, and layers of each dense block; the stem has twice the growth rate's channels.
DEPTHS = {121: (32, (6, 12, 24, 16)), 161: (48, (6, 12, 36, 24)),
          169: (32, (6, 12, 32, 32)), 201: (32, (6, 12, 48, 32))}
BOTTLENECK = 4  # width of the 1x1 convolution, in growth rates


@MODELS.register_module()
class DenseNetCIFAR(ImageBackbone):
    """A densely connected network without its classifier.

    Args:
        depth: 121, 161, 169 or 201; `feat_dim` is 1024, 2208, 1664 or 1920.

    Shapes:
        Input (N, 3, H, W) float; output (N, feat_dim, ⌊H/8⌋, ⌊W/8⌋).

    Raises:
        ConfigError: If there is no such depth.
    """

    over_inputs = True

    def __init__(self, depth: int = 121) -> None:
        require_choice('DenseNetCIFAR', 'depth', depth, DEPTHS)
        super().__init__()
        growth, lengths = DEPTHS[depth]
        channels = 2 * growth
        self.features = nn.Sequential(OrderedDict(
            conv0=nn.Conv2d(3, channels, 3, 1, 1, bias=False),
            norm0=nn.BatchNorm2d(channels),
            relu0=nn.ReLU(inplace=True),
        ))
        for place, length in enumerate(lengths, 1):
            if place > 1:
                self.features.add_module(f'transition{place - 1}', transition(channels))
                channels //= 2
            self.features.add_module(f'denseblock{place}', DenseBlock(channels, growth, length))
            channels += length * growth
        self.features.add_module('norm5', nn.BatchNorm2d(channels))
        self.feat_dim = channels

    def maps(self, x_NCHW: Tensor) -> Tensor:
        """Returns the last dense block's output behind its norm and ReLU."""
        return torch.relu(self.features(x_NCHW))


class DenseBlock(nn.Module):
    """Layers that each see the input and the outputs of all layers before.

    Args:
        in_channels: Width of the input.
        growth: Channels that a layer adds.
        length: Number of layers.
    """

    def __init__(self, in_channels: int, growth: int, length: int) -> None:
        super().__init__()
        for place in range(length):
            self.add_module(f'denselayer{place + 1}', dense_layer(in_channels + place * growth, growth))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns the input and all outputs, (N, in_channels + length * growth, H, W)."""
        for layer in self.children():
            x_NCHW = torch.cat([x_NCHW, layer(x_NCHW)], dim=1)
        return x_NCHW


def dense_layer(in_channels: int, growth: int) -> nn.Sequential:
    """Returns what makes `growth` new channels out of all that are there."""
    hidden = BOTTLENECK * growth
    return nn.Sequential(OrderedDict(
        norm1=nn.BatchNorm2d(in_channels),
        relu1=nn.ReLU(inplace=True),
        conv1=nn.Conv2d(in_channels, hidden, 1, bias=False),
        norm2=nn.BatchNorm2d(hidden),
        relu2=nn.ReLU(inplace=True),
        conv2=nn.Conv2d(hidden, growth, 3, 1, 1, bias=False),
    ))


def transition(in_channels: int) -> nn.Sequential:
    """Returns what halves channels and resolution between two dense blocks."""
    return nn.Sequential(OrderedDict(
        norm=nn.BatchNorm2d(in_channels),
        relu=nn.ReLU(inplace=True),
        conv=nn.Conv2d(in_channels, in_channels // 2, 1, bias=False),
        pool=nn.AvgPool2d(2),
    ))
