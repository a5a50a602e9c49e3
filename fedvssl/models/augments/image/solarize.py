"""Solarising: what is bright is inverted."""

import torch
from torch import Tensor

from fedvssl.models.augments.image.op import ImageOp, require_interval
from fedvssl.registry import MODELS


@MODELS.register_module()
class Solarize(ImageOp):
    """With probability `p`, replaces each value x of an image that is at least `threshold` by 1 - x.

    Args:
        p: Probability that an image is changed.
        threshold: On the 0..1 scale; 128 on that of bytes is 0.5 here.

    Raises:
        ConfigError: If one of them is not between 0 and 1.
    """

    def __init__(self, p: float, threshold: float = 0.5) -> None:
        super().__init__(p)
        require_interval('Solarize', 0, 1, threshold=threshold)
        self.threshold = threshold

    def change(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Returns solarised images."""
        return torch.where(images < self.threshold, images, 1 - images)
