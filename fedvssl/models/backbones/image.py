"""What the networks for small images share: what they take, what they refuse, and how they start.

All of them leave out the classifier and return the last feature maps (N, C, h, w), with C in `feat_dim`; whoever uses
them pools. Their stems have stride 1, where those for 224 px shrink an image four times before the first block. Apart
from that, and from what each file says, they are the published networks; tensors have torchvision's names and order.
"""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from fedvssl.errors import ConfigError

SMALLEST = 8  # px; below it, maps are smaller than one pixel of the coarsest stage


class ImageBackbone(BaseModule):
    """A network from RGB images to feature maps.

    Attributes:
        feat_dim: Channels of the maps it returns.
        over_inputs: Whether a convolution's initial variance is 2 over its fan-in, rather than over its fan-out.

    Shapes:
        Input (N, 3, H, W) float, H and W at least 8; output (N, feat_dim, h, w).

    Raises:
        ConfigError: If asked for maps of anything else.
    """

    feat_dim: int
    over_inputs = False

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns the last stage's feature maps."""
        require_images(type(self).__name__, x_NCHW)
        return self.maps(x_NCHW)

    @abstractmethod
    def maps(self, x_NCHW: Tensor) -> Tensor:
        """Returns the feature maps of images that were checked."""

    def init_weights(self) -> None:
        """Initialises from torch's generator: He normal for convolutions, 1 and 0 for norms, 0 for biases."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_conv(module, self.over_inputs)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)


def init_conv(conv: nn.Conv2d, over_inputs: bool = False) -> None:
    """Draws a convolution's weights from N(0, 2 / fan), and sets its bias to 0.

    Args:
        conv: What to initialise.
        over_inputs: Whether the fan is that of its inputs. An output's fan counts the channels of its own group only:
            k² for a depthwise convolution, which torch's own functions take for k² · C.
    """
    area = conv.weight[0, 0].numel()
    fan = area * (conv.in_channels if over_inputs else conv.out_channels) // conv.groups
    nn.init.normal_(conv.weight, std=(2 / fan) ** 0.5)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def require_images(network: str, x: Tensor) -> None:
    """Checks that `x` is a batch of images that a network can take.

    Raises:
        ConfigError: If it is not float (N, 3, H, W), or smaller than 8 px.
    """
    if x.ndim != 4 or x.shape[1] != 3:
        raise ConfigError(f'{network}: takes RGB images (N, 3, H, W), not {tuple(x.shape)}')
    if not x.is_floating_point():
        raise ConfigError(f'{network}: takes float images, not {x.dtype}; the data preprocessor makes them so')
    if min(x.shape[2:]) < SMALLEST:
        raise ConfigError(f'{network}: images must be at least {SMALLEST} px high and wide, not '
                          f'{x.shape[2]} x {x.shape[3]}; resize them, or make larger crops')


def require_choice(network: str, argument: str, value: Any, allowed: Iterable[Any]) -> None:
    """Checks an argument that has a few values.

    Raises:
        ConfigError: If `value` is none of them, naming them all.
    """
    allowed = list(allowed)
    if value not in allowed:
        raise ConfigError(f'{network}: {argument} must be one of {", ".join(map(repr, allowed))}, not {value!r}')


def require_width(network: str, width: int) -> None:
    """Checks the number of channels that a network's first stage is to have.

    Raises:
        ConfigError: If it is not a positive whole number.
    """
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise ConfigError(f'{network}: width must be a whole number of channels, at least 1, not {width!r}')
