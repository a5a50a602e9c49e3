"""An independent spelling of torchvision's ``r3d_18`` and ``r2plus1d_18``: its names, shapes and order of operations.

Written from the description of the networks, because torchvision cannot be relied on to be there; any width, any eps.
"""

from torch import nn


def conv(inputs, outputs, kernel, stride=(1, 1, 1)):
    """A convolution without bias that keeps the size but for its stride."""
    return nn.Conv3d(inputs, outputs, kernel, stride, [size // 2 for size in kernel], bias=False)


class VideoResNet(nn.Module):
    """Stem, four layers of two blocks, pooling and ``fc``; `features` stops before the pooling."""

    def __init__(self, width=64, factored=False, eps=1e-5, classes=5):
        super().__init__()
        if factored:
            mid = max(1, round(45 * width / 64))
            self.stem = nn.Sequential(conv(3, mid, (1, 7, 7), (1, 2, 2)), nn.BatchNorm3d(mid), nn.ReLU(),
                                      conv(mid, width, (3, 1, 1)), nn.BatchNorm3d(width), nn.ReLU())
        else:
            self.stem = nn.Sequential(conv(3, width, (3, 7, 7), (1, 2, 2)), nn.BatchNorm3d(width), nn.ReLU())
        planes = [width, width, 2 * width, 4 * width, 8 * width]
        for stage in range(1, 5):
            blocks = [Block(planes[stage - 1], planes[stage], 1 if stage == 1 else 2, factored),
                      Block(planes[stage], planes[stage], 1, factored)]
            setattr(self, f'layer{stage}', nn.Sequential(*blocks))
        self.fc = nn.Linear(planes[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eps = eps

    def features(self, x_BCTHW):
        for part in (self.stem, self.layer1, self.layer2, self.layer3, self.layer4):
            x_BCTHW = part(x_BCTHW)
        return x_BCTHW

    def forward(self, x_BCTHW):
        return self.fc(self.features(x_BCTHW).mean(dim=(2, 3, 4)))


class Block(nn.Module):
    """Two convolutions and a shortcut; the inner width of both factored ones comes from the block's two widths."""

    def __init__(self, inputs, outputs, stride, factored):
        super().__init__()
        mid = inputs * outputs * 27 // (inputs * 9 + 3 * outputs)

        def make(channels, step):
            if not factored:
                return conv(channels, outputs, (3, 3, 3), (step, step, step))
            return nn.Sequential(conv(channels, mid, (1, 3, 3), (1, step, step)), nn.BatchNorm3d(mid), nn.ReLU(),
                                 conv(mid, outputs, (3, 1, 1), (step, 1, 1)))

        self.conv1 = nn.Sequential(make(inputs, stride), nn.BatchNorm3d(outputs), nn.ReLU())
        self.conv2 = nn.Sequential(make(outputs, 1), nn.BatchNorm3d(outputs))
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(conv(inputs, outputs, (1, 1, 1), (stride,) * 3), nn.BatchNorm3d(outputs))

    def forward(self, x_BCTHW):
        shortcut = x_BCTHW if self.downsample is None else self.downsample(x_BCTHW)
        return (self.conv2(self.conv1(x_BCTHW)) + shortcut).relu()
