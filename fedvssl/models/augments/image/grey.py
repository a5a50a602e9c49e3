"""Grey images: the luma 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601, as in PIL) in all three channels."""

from torch import Tensor

from fedvssl.models.augments.image.op import ImageOp
from fedvssl.registry import MODELS

LUMA = (0.299, 0.587, 0.114)


@MODELS.register_module()
class Grayscale(ImageOp):
    """With probability `p`, turns an image grey.

    Args:
        p: Probability that an image is changed.

    Raises:
        ConfigError: If it is not between 0 and 1.
    """

    def __init__(self, p: float = 0.2) -> None:
        super().__init__(p)

    def change(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Returns grey images."""
        return luma(images.flatten(2)).view(len(images), 1, *images.shape[2:]).expand_as(images)


def luma(x_N3P: Tensor) -> Tensor:
    """Returns the luma (N, P) of pixels (N, 3, P)."""
    red, green, blue = x_N3P.unbind(1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
