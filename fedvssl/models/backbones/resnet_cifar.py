"""ResNet-18 to -152 for small images: a 3x3 stem of stride 1 and no max pooling, as usual for CIFAR.

Four stages of basic blocks (18, 34) or bottlenecks (50, 101, 152), with 64, 128, 256 and 512 channels (times four
behind a bottleneck); the stages behind the first halve the resolution, a bottleneck in its 3x3 convolution ("v1.5").
At width 64, ResNet-18 has 11,168,832 parameters and does 1.111 GFLOP (a multiply-add is two) on 32x32 pixels:
(N, 3, 32, 32) -> (N, 512, 4, 4).

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; its own CIFAR networks are narrower.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from fedvssl.models.backbones.image import ImageBackbone, require_choice, require_width
from fedvssl.registry import MODELS


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut.

    Args:
        in_channels: Width of the input.
        width: Width of the convolutions, and of the output.
        stride: Stride of the first one and of the shortcut.
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(in_channels, width, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """What scales the block's contribution."""
        return self.bn2

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns ReLU(convolved + shortcut)."""
        hidden = torch.relu(self.bn1(self.conv1(x_NCHW)))
        return torch.relu(self.bn2(self.conv2(hidden)) + self.downsample(x_NCHW))


class Bottleneck(nn.Module):
    """1x1 to `width`, 3x3, and 1x1 to four times that, beside a shortcut.

    Args:
        in_channels: Width of the input.
        width: Width of the 3x3 convolution.
        stride: Its stride, and that of the shortcut.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = shortcut(in_channels, out_channels, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """What scales the block's contribution."""
        return self.bn3

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns ReLU(convolved + shortcut)."""
        hidden = torch.relu(self.bn1(self.conv1(x_NCHW)))
        hidden = torch.relu(self.bn2(self.conv2(hidden)))
        return torch.relu(self.bn3(self.conv3(hidden)) + self.downsample(x_NCHW))


Block = type[BasicBlock] | type[Bottleneck]

DEPTHS: dict[int, tuple[Block, tuple[int, ...]]] = {  # blocks of each stage
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


@MODELS.register_module()
class ResNetCIFAR(ImageBackbone):
    """A residual network without its classifier.

    Args:
        depth: 18, 34, 50, 101 or 152.
        width: Width of the first stage; 64 is the published network, 8 to 16 suit a CPU.
        zero_init_residual: Whether each block starts as the identity, its last norm scaling by 0.

    Shapes:
        Input (N, 3, H, W) float; output (N, 8 * width, ~H/8, ~W/8), four times as wide from depth 50 on.

    Raises:
        ConfigError: If there is no such depth or width.
    """

    def __init__(self, depth: int = 18, width: int = 64, zero_init_residual: bool = False) -> None:
        require_choice('ResNetCIFAR', 'depth', depth, DEPTHS)
        require_width('ResNetCIFAR', width)
        super().__init__()
        block, lengths = DEPTHS[depth]
        self.zero_init_residual = zero_init_residual
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        widths = [width] + [(width << stage) * block.expansion for stage in range(4)]
        for stage, (ins, _) in enumerate(pairwise(widths)):
            stride = 1 if stage == 0 else 2
            self.add_module(f'layer{stage + 1}', make_stage(block, ins, width << stage, lengths[stage], stride))
        self.feat_dim = widths[-1]

    def init_weights(self) -> None:
        """Initialises as published."""
        super().init_weights()
        for module in self.modules():
            if self.zero_init_residual and isinstance(module, BasicBlock | Bottleneck):
                nn.init.zeros_(module.last_norm.weight)

    def maps(self, x_NCHW: Tensor) -> Tensor:
        """Returns the last stage's output."""
        x_NCHW = torch.relu(self.bn1(self.conv1(x_NCHW)))
        for stage in range(4):
            x_NCHW = self.get_submodule(f'layer{stage + 1}')(x_NCHW)
        return x_NCHW


def make_stage(block: Block, in_channels: int, width: int, length: int, stride: int) -> nn.Sequential:
    """Returns `length` blocks of a width, the first of which has the stride."""
    first = block(in_channels, width, stride)
    return nn.Sequential(first, *(block(width * block.expansion, width, 1) for _ in range(length - 1)))


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Returns the identity, or where a block changes the shape, a 1x1 convolution and its norm."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
