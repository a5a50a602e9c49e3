"""EfficientNet-B0 to -B7 for small images: the published networks with a stem of stride 1.

Seven stages of inverted residual blocks (1x1 to e times the channels, depthwise k x k, squeeze and excitation, 1x1
back) between a 3x3 stem and a 1x1 convolution. A variant multiplies the channels, rounded to multiples of 8, and the
blocks of each stage, rounded up, by coefficients of its own. B0 has 4,007,548 parameters: (N, 3, 32, 32) ->
(N, 1280, 2, 2).

Norms have the published eps 1e-3. Their averages move by torch's 0.1 a step rather than the published 0.01, by which a
client of a hundred steps would still evaluate with a third of its initial ones.

Sources: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; stochastic
depth: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016.
"""

import math
from itertools import pairwise
from typing import NamedTuple

from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from fedvssl.errors import ConfigError
from fedvssl.models.backbones.image import ImageBackbone, require_choice
from fedvssl.registry import MODELS

NORM_EPS = 1e-3


class Stage(NamedTuple):
    """A stage of B0."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    blocks: int


STAGES = (Stage(1, 3, 1, 16, 1), Stage(6, 3, 2, 24, 2), Stage(6, 5, 2, 40, 2), Stage(6, 3, 2, 80, 3),
          Stage(6, 5, 1, 112, 3), Stage(6, 5, 2, 192, 4), Stage(6, 3, 1, 320, 1))
STEM = 32  # channels of B0
VARIANTS = {'b0': (1.0, 1.0), 'b1': (1.0, 1.1), 'b2': (1.1, 1.2), 'b3': (1.2, 1.4),  # factors of width and depth
            'b4': (1.4, 1.8), 'b5': (1.6, 2.2), 'b6': (1.8, 2.6), 'b7': (2.0, 3.1)}


@MODELS.register_module()
class EfficientNetCIFAR(ImageBackbone):
    """An EfficientNet without its classifier.

    Args:
        variant: ``b0`` to ``b7``; `feat_dim` is 1280, 1280, 1408, 1536, 1792, 2048, 2304 or 2560.
        drop_path: Probability that training leaves the last block out for a sample, growing linearly from 0 in the
            first one. Published: 0.2, with which the networks cannot overfit ImageNet; few small images need none.

    Shapes:
        Input (N, 3, H, W) float; output (N, feat_dim, ~H/16, ~W/16).

    Raises:
        ConfigError: If there is no such variant, or the probability is not in [0, 1).
    """

    def __init__(self, variant: str = 'b0', drop_path: float = 0.0) -> None:
        require_choice('EfficientNetCIFAR', 'variant', variant, VARIANTS)
        if not 0 <= drop_path < 1:
            raise ConfigError(f'EfficientNetCIFAR: drop_path must be a probability in [0, 1), not {drop_path}')
        super().__init__()
        width, depth = VARIANTS[variant]
        widths = [scaled_width(channels, width) for channels in (STEM, *(stage.channels for stage in STAGES))]
        lengths = [math.ceil(stage.blocks * depth) for stage in STAGES]
        rates = iter([drop_path * place / sum(lengths) for place in range(sum(lengths))])
        self.features = nn.Sequential(convolution(3, widths[0], 3))
        for stage, (ins, outs), length in zip(STAGES, pairwise(widths), lengths, strict=True):
            blocks = [InvertedResidual(ins, outs, stage.expansion, stage.kernel, stage.stride, next(rates))]
            blocks += [InvertedResidual(outs, outs, stage.expansion, stage.kernel, 1, next(rates))
                       for _ in range(length - 1)]
            self.features.append(nn.Sequential(*blocks))
        self.feat_dim = 4 * widths[-1]
        self.features.append(convolution(widths[-1], self.feat_dim, 1))

    def maps(self, x_NCHW: Tensor) -> Tensor:
        """Returns the output of the last convolution."""
        return self.features(x_NCHW)


class InvertedResidual(nn.Module):
    """A block that is wide inside, beside the identity where it keeps the shape.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        expansion: Inner width, in input widths; 1: without the first convolution.
        kernel: Size of the depthwise convolution.
        stride: Its stride.
        drop_path: Probability that training leaves the block out for a sample.
    """

    def __init__(self, in_channels: int, out_channels: int, expansion: int, kernel: int, stride: int,
                 drop_path: float) -> None:
        super().__init__()
        hidden = expansion * in_channels
        expand = [convolution(in_channels, hidden, 1)] if expansion > 1 else []
        self.block = nn.Sequential(
            *expand,
            convolution(hidden, hidden, kernel, stride, groups=hidden),
            SqueezeExcitation(hidden, max(1, in_channels // 4)),
            convolution(hidden, out_channels, 1, act=False),
        )
        self.residual = stride == 1 and in_channels == out_channels
        self.drop_path = DropPath(drop_path)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns the block's output."""
        out = self.block(x_NCHW)
        return x_NCHW + self.drop_path(out) if self.residual else out


class SqueezeExcitation(nn.Module):
    """Scales each channel by a number in 0..1, a function of all channels' means.

    Args:
        channels: Width of input and output.
        squeezed: Width of the hidden layer.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns the scaled maps."""
        pooled = x_NCHW.mean(dim=(2, 3), keepdim=True)
        return x_NCHW * self.fc2(nn.functional.silu(self.fc1(pooled))).sigmoid()


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1,
                act: bool = True) -> nn.Sequential:
    """Returns a convolution, its norm, and SiLU if `act`."""
    layers = nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
                           nn.BatchNorm2d(out_channels, eps=NORM_EPS))
    return layers.append(nn.SiLU(inplace=True)) if act else layers


def scaled_width(channels: int, factor: float) -> int:
    """Returns the multiple of 8 nearest to `channels` times `factor`, or the next one if that takes off over 10 %."""
    wanted = channels * factor
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded
