r"""Random resized crop with the horizontal flip folded in: one bilinear resampling per image.

A box has the area a·H·W, a ~ U(scale), and the aspect ratio r = w / h, log r ~ U(log ratio):

    w = round √(a·H·W·r),    h = round √(a·H·W / r),    drawn again up to ten times until it fits into the image;

then x ~ U{0..W - w}, y ~ U{0..H - h}. If none of the ten fits, it is the largest box in the middle whose aspect is
allowed. The tries are independent of each other, so all ten are drawn at once and the first that fits is taken: the
same distribution without a loop.

Output pixel j of s looks at the place x + (j + ½)·w/s - ½, clamped to the box, [x, x + w - 1]: what cutting the box out
and resizing it bilinearly gives (half-pixel centres, no antialiasing); a flip reverses j. Both axes are done one after
the other, each as weighted sums of two rows of a matrix, for which torch has a kernel (``embedding_bag``): on a CPU it
and the two transpositions take half the time of ``grid_sample``, which must look up every pixel.

Source: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015; the tries are those of torchvision.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from fedvssl.errors import ConfigError
from fedvssl.models.augments.image.op import check_images, require_interval, require_range, require_size
from fedvssl.registry import MODELS

TRIES = 10


@MODELS.register_module()
class ResizedCrop:
    """Cuts a random box out of each image, resizes it to a square and flips it with probability `flip`.

    Args:
        size: Side of the result in pixels.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest width / height.
        flip: Probability of a horizontal flip.

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(self, size: int, scale: Sequence[float] = (0.08, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3),
                 flip: float = 0.5) -> None:
        require_size('ResizedCrop', size=size)
        require_range('ResizedCrop', 0, 1, scale=scale)
        require_range('ResizedCrop', 0, math.inf, ratio=ratio)
        require_interval('ResizedCrop', 0, 1, flip=flip)
        self.size, self.scale, self.ratio, self.flip = size, scale, ratio, flip

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Returns the crops (B, 3, size, size) of float images (B, 3, H, W).

        Raises:
            ConfigError: If these are not such images.
        """
        check_images('ResizedCrop', images)
        boxes = self.boxes(len(images), images.shape[2], images.shape[3], generator)
        flipped = torch.rand(len(images), generator=generator) < self.flip
        return resized_crop(images, boxes, flipped, self.size)

    def boxes(self, batch: int, height: int, width: int, generator: Generator) -> Tensor:
        """Draws boxes in whole pixels, float64 (B, 4) of y, x, height and width."""
        low, high = (math.log(end) for end in self.ratio)
        tries_2BT = torch.rand(2, batch, TRIES, generator=generator)
        area = (self.scale[0] + (self.scale[1] - self.scale[0]) * tries_2BT[0]) * (height * width)
        aspect = (low + (high - low) * tries_2BT[1]).exp_()
        h, w = first_fitting((area / aspect).sqrt_().round_(), (area * aspect).sqrt_().round_(), height, width)
        middle_h, middle_w = largest_box(height, width, self.ratio)
        none_fitted = h < 0
        h, w = h.masked_fill(none_fitted, middle_h), w.masked_fill(none_fitted, middle_w)
        where_2B = torch.rand(2, batch, generator=generator, dtype=torch.float64)
        y, x = (where_2B[0] * (height - h + 1)).floor_(), (where_2B[1] * (width - w + 1)).floor_()
        y.masked_fill_(none_fitted, (height - middle_h) // 2)
        x.masked_fill_(none_fitted, (width - middle_w) // 2)
        return torch.stack([y, x, h, w], dim=1)


def first_fitting(h_BT: Tensor, w_BT: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Returns heights and widths, float64 (B,), of the first try that fits; -1 where none does."""
    fits = (h_BT > 0) & (h_BT <= height) & (w_BT > 0) & (w_BT <= width)
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)  # of equal ones, the first
    none_fits = ~fits.any(dim=1)
    h, w = (side.gather(1, first).squeeze(1).masked_fill(none_fits, -1).double() for side in (h_BT, w_BT))
    return h, w


def largest_box(height: int, width: int, ratio: Sequence[float]) -> tuple[int, int]:
    """Returns height and width of the largest box with an allowed aspect ratio."""
    if width < height * ratio[0]:
        return min(round(width / ratio[0]), height), width
    if width > height * ratio[1]:
        return height, min(round(height * ratio[1]), width)
    return height, width


def resized_crop(images: Tensor, boxes: Tensor, flipped: Tensor, size: int) -> Tensor:
    """Cuts boxes out and resizes them bilinearly.

    Args:
        images: float (B, 3, H, W).
        boxes: (B, 4), y, x, height and width in pixels.
        flipped: Which results to flip horizontally, bool (B,).
        size: Side of the result.

    Returns:
        A tensor (B, 3, size, size).

    Raises:
        ConfigError: If there is not one box per image.
    """
    if boxes.shape != (len(images), 4) or flipped.shape != (len(images),):
        raise ConfigError(f'resized_crop: takes one box and one flip per image, not {tuple(boxes.shape)} boxes and '
                          f'{tuple(flipped.shape)} flips of {len(images)} images')
    batch, channels, height, width = images.shape
    boxes = boxes.to(torch.float64)
    # Both axes of all boxes at once: first that of x, then that of y, which is the same for all channels.
    mirrored = torch.stack([flipped, torch.zeros_like(flipped)])
    index_2BS2, weight_2BS2 = taps(boxes[:, [1, 0]].T, boxes[:, [3, 2]].T, mirrored, size)
    x_BSCH = blend_rows(images.permute(0, 3, 1, 2).reshape(batch, width, -1), index_2BS2[0], weight_2BS2[0])
    x_NHS = x_BSCH.view(batch, size, channels, height).permute(0, 2, 3, 1).reshape(-1, height, size)
    index_NS2, weight_NS2 = (tap[1].repeat_interleave(channels, dim=0) for tap in (index_2BS2, weight_2BS2))
    return blend_rows(x_NHS, index_NS2, weight_NS2).view(batch, channels, size, size)


def taps(start: Tensor, length: Tensor, mirrored: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Returns which two pixels each pixel of the output blends along one axis, and with which weights, (..., size, 2).

    Args:
        start: First pixel of each box, float64 (...).
        length: Pixels of each box.
        mirrored: Whether the output runs from the box's end to its start, bool (...).
        size: Pixels of the output.
    """
    start, length = start[..., None], length[..., None]
    ahead = torch.arange(size, dtype=torch.float64) + 0.5
    steps = mirrored[..., None] * (size - 2 * ahead) + ahead
    place = (steps * (length / size) - 0.5).clamp_(min=0).minimum(length - 1)
    before = place.floor()
    share = place - before
    after = (before + 1).minimum(length - 1)
    return torch.stack([before, after], dim=-1).add_(start[..., None]).long(), torch.stack([1 - share, share], dim=-1)


def blend_rows(x_NRD: Tensor, index_NS2: Tensor, weight_NS2: Tensor) -> Tensor:
    """Returns weighted sums of rows, (N, S, D): for each of N pictures and S results, of two of its R rows."""
    pictures, rows, width = x_NRD.shape
    index_NS2 = index_NS2 + rows * torch.arange(pictures)[:, None, None]
    weight_NS2 = weight_NS2.to(x_NRD.dtype)
    blended = F.embedding_bag(index_NS2.view(-1, 2).to(x_NRD.device), x_NRD.reshape(-1, width), mode='sum',
                              per_sample_weights=weight_NS2.view(-1, 2).to(x_NRD.device))
    return blended.view(pictures, -1, width)
