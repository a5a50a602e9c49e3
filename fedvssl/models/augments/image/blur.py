r"""Gaussian blur, separable, with a width of its own for each image.

    g_i ∝ exp(-i² / 2σ²),  i = -k/2 .. k/2,  Σ g_i = 1;    rows first, then columns; borders are mirrored

σ ~ U(sigma). A pass is one depthwise convolution over the batch's channels, each with its image's weights. A kernel of
3 x 3 takes a single pass: memory costs more there than the three products saved.

Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020: σ from 0.1 to
2, a kernel of a tenth of the image's side, 23 of 224 pixels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from fedvssl.errors import ConfigError
from fedvssl.models.augments.image.op import ImageOp, require_range, require_size, uniform
from fedvssl.registry import MODELS


@MODELS.register_module()
class GaussianBlur(ImageOp):
    """With probability `p`, blurs an image.

    Args:
        p: Probability that an image is changed.
        sigma: Smallest and largest standard deviation in pixels.
        kernel_size: Width of the kernel in pixels, odd; by default ``size // 20 * 2 + 1`` of the shorter side, and at
            least 3: 3 of 32 pixels, 23 of 224.

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(self, p: float, sigma: Sequence[float] = (0.1, 2.0), kernel_size: int | None = None) -> None:
        super().__init__(p)
        require_range('GaussianBlur', 0, math.inf, sigma=sigma)
        if kernel_size is not None:
            require_size('GaussianBlur', kernel_size=kernel_size)
            if kernel_size % 2 == 0:
                raise ConfigError(f'GaussianBlur: kernel_size must be odd, not {kernel_size}')
        self.sigma, self.kernel_size = sigma, kernel_size

    def draw(self, batch: int, generator: Generator) -> Tensor:
        """Returns σ of each image, (B, 1)."""
        return uniform(generator, batch, *self.sigma)[:, None]

    def change(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Returns blurred images.

        Raises:
            ConfigError: If half the kernel is as wide as the image.
        """
        size = min(images.shape[2:])
        width = max(size // 20 * 2 + 1, 3) if self.kernel_size is None else self.kernel_size
        if width // 2 >= size:
            raise ConfigError(f'GaussianBlur: kernel_size {width} is too wide for images of {size} pixels; at most '
                              f'{2 * size - 1}')
        return blur(images, gaussian(parameters[:, 0], width).to(images.device, images.dtype))


def gaussian(sigma: Tensor, width: int) -> Tensor:
    """Returns kernels (N, width) of standard deviations (N,); each sums to 1."""
    place = torch.arange(width, dtype=torch.float64) - width // 2
    return torch.softmax(-place.square() / (2 * sigma.to(torch.float64)[:, None].square()), dim=1)


def blur(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolves each image (N, C, H, W) with its kernel (N, width), along both axes."""
    batch, channels, height, width = images.shape
    half = kernels.shape[1] // 2
    weight = kernels.repeat_interleave(channels, dim=0)[:, None]  # (N·C, 1, width): a group for each channel
    x = F.pad(images, (half, half, half, half), mode='reflect').view(1, batch * channels, height + 2 * half, -1)
    along_rows, along_columns = weight[:, :, None, :], weight[..., None]
    passes = [along_rows * along_columns] if half == 1 else [along_rows, along_columns]
    for kernel in passes:
        x = F.conv2d(x, kernel, groups=batch * channels)
    return x.view(batch, channels, height, width)
