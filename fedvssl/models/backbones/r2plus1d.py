"""R(2+1)D-18, tensor for tensor the network of Catch-the-Patch (CtP), or the one that torchvision has weights for.

Every 3x3x3 convolution of R3D-18 becomes a spatial (1, 3, 3) convolution to M channels, batch norm, ReLU and a
temporal (3, 1, 1) convolution, with M chosen so that the pair has about as many weights as the convolution it
replaces:

    M = ⌊3 · 9 · Cin · Cout / (9 Cin + 3 Cout)⌋

The stem is (1, 7, 7) to 45 channels and (3, 1, 1), stride (1, 2, 2), without pooling; a shortcut that changes shape
is one plain 1x1x1 convolution. No convolution has a bias. At width 64: 33,165,639 parameters in 222 tensors,
(B, 3, 16, 112, 112) -> (B, 512, 2, 7, 7).

torchvision's `r2plus1d_18` (31,300,125 parameters) computes M once a block, from the block's two widths, where CtP
does so for each convolution; the second one of ``layer2.0`` has M = 230 there and 288 here. mmaction2's
`ResNet2Plus1d` is a third network: 83 channels in the stem, max pooling, factored shortcuts.

Sources: Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018; Wang et al.
(CtP), CVPR 2021.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule, constant_init, kaiming_init
from torch import Tensor, nn

from fedvssl.errors import ConfigError
from fedvssl.registry import MODELS

Stride = tuple[int, int, int]

UNIT: Stride = (1, 1, 1)
STAGES = 4
STEM_MID = 45  # at width 64; what the formula does not give
MIDS = ('per_conv', 'per_block')


@MODELS.register_module()
class R2Plus1D18(BaseModule):
    """R(2+1)D-18 without its classifier.

    Args:
        base_channels: Width of the first stage; 64 is the published network, 8 to 16 suit a CPU.
        spatial_strides: Stride of each stage in height and width; CtP pretraining uses (1, 2, 2, 1).
        temporal_strides: Stride of each stage in time.
        norm_eps: Epsilon of the batch norms (CtP: 1e-3; torchvision: 1e-5).
        mid: ``per_conv`` is CtP's network, ``per_block`` torchvision's.

    Shapes:
        Input (B, 3, T, H, W) float; output (B, 8 * base_channels, ~T/8, ~H/16, ~W/16).

    Raises:
        ConfigError: If `mid` is neither, or there is not one stride a stage.
    """

    def __init__(self, base_channels: int = 64, spatial_strides: Sequence[int] = (1, 2, 2, 2),
                 temporal_strides: Sequence[int] = (1, 2, 2, 2), norm_eps: float = 1e-3, mid: str = 'per_conv') -> None:
        if mid not in MIDS:
            raise ConfigError(f'R2Plus1D18: mid must be one of {", ".join(map(repr, MIDS))}, not {mid!r}')
        for name, strides in (('spatial_strides', spatial_strides), ('temporal_strides', temporal_strides)):
            if len(strides) != STAGES:
                raise ConfigError(f'R2Plus1D18: {name} must be {STAGES} numbers, one a stage, not {list(strides)}')
        super().__init__()
        self.stem = stem(base_channels, norm_eps)
        channels = base_channels
        for stage, (space, time) in enumerate(zip(spatial_strides, temporal_strides, strict=True)):
            out_channels = base_channels << stage
            blocks = (Block(channels, out_channels, (time, space, space), norm_eps, mid),
                      Block(out_channels, out_channels, UNIT, norm_eps, mid))
            self.add_module(f'layer{stage + 1}', nn.Sequential(*blocks))
            channels = out_channels
        self.feat_dim = channels

    def init_weights(self) -> None:
        """Initialises as published: Kaiming normal (fan out, ReLU) for convolutions, 1 and 0 for norms."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                kaiming_init(module)
            elif isinstance(module, nn.BatchNorm3d):
                constant_init(module, 1)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Returns the last stage's feature maps."""
        x_BCTHW = self.stem(x_BCTHW)
        for stage in range(STAGES):
            x_BCTHW = self.get_submodule(f'layer{stage + 1}')(x_BCTHW)
        return x_BCTHW


class Block(nn.Module):
    """A basic residual block of two factored convolutions.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        stride: Stride of the first convolution and of the shortcut, (time, height, width).
        norm_eps: Epsilon of the batch norms.
        mid: See `R2Plus1D18`.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: Stride, norm_eps: float, mid: str) -> None:
        super().__init__()
        mid1 = mid_channels(in_channels, out_channels)
        mid2 = mid_channels(out_channels, out_channels) if mid == 'per_conv' else mid1
        self.conv1 = factored_conv(in_channels, mid1, out_channels, stride, norm_eps)
        self.bn1 = nn.BatchNorm3d(out_channels, eps=norm_eps)
        self.conv2 = factored_conv(out_channels, mid2, out_channels, UNIT, norm_eps)
        self.bn2 = nn.BatchNorm3d(out_channels, eps=norm_eps)
        changes_shape = stride != UNIT or in_channels != out_channels
        self.downsample = shortcut(in_channels, out_channels, stride) if changes_shape else nn.Identity()
        self.downsample_bn = nn.BatchNorm3d(out_channels, eps=norm_eps) if changes_shape else nn.Identity()

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Returns ReLU(convolved + shortcut)."""
        hidden = torch.relu(self.bn1(self.conv1(x_BCTHW)))
        return torch.relu(self.bn2(self.conv2(hidden)) + self.downsample_bn(self.downsample(x_BCTHW)))


def mid_channels(in_channels: int, out_channels: int) -> int:
    """Returns M, for which a factored convolution has about the weights of a 3x3x3 one."""
    return 27 * in_channels * out_channels // (9 * in_channels + 3 * out_channels)


def stem(base_channels: int, norm_eps: float) -> nn.Sequential:
    """Returns the first two convolutions, from RGB; the 45 channels between them scale with the width."""
    mid = max(1, round(STEM_MID * base_channels / 64))
    return nn.Sequential(OrderedDict(
        conv_s=nn.Conv3d(3, mid, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
        bn_s=nn.BatchNorm3d(mid, eps=norm_eps),
        relu_s=nn.ReLU(inplace=True),
        conv_t=nn.Conv3d(mid, base_channels, (3, 1, 1), 1, (1, 0, 0), bias=False),
        bn_t=nn.BatchNorm3d(base_channels, eps=norm_eps),
        relu_t=nn.ReLU(inplace=True),
    ))


def factored_conv(in_channels: int, mid: int, out_channels: int, stride: Stride, norm_eps: float) -> nn.Sequential:
    """Returns a 3x3x3 convolution in two: in space to `mid` channels, then in time."""
    time, height, width = stride
    return nn.Sequential(OrderedDict(
        conv_s=nn.Conv3d(in_channels, mid, (1, 3, 3), (1, height, width), (0, 1, 1), bias=False),
        bn_s=nn.BatchNorm3d(mid, eps=norm_eps),
        relu_s=nn.ReLU(inplace=True),
        conv_t=nn.Conv3d(mid, out_channels, (3, 1, 1), (time, 1, 1), (1, 0, 0), bias=False),
    ))


def shortcut(in_channels: int, out_channels: int, stride: Stride) -> nn.Sequential:
    """Returns the plain convolution of a shortcut that changes shape."""
    return nn.Sequential(OrderedDict(conv=nn.Conv3d(in_channels, out_channels, 1, stride, bias=False)))
