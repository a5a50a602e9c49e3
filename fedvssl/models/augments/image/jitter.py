r"""Colour jitter: brightness, contrast, saturation and hue of each image by factors, and in an order, of its own.

    brightness  f·x              contrast  f·x + (1 - f)·mean of the image's luma
    saturation  f·x + (1 - f)·luma of the pixel              hue  turned by f, through HSV

each clamped to [0, 1]; f ~ U(max(0, 1 - s), 1 + s) for a strength s, of the hue U(-s, s). All but the hue are one
formula, f·x + α·luma + β·mean luma, so that a step serves images which are at different operations. Images are sorted
by when their hue is due: those of one time are neighbours, and the dear way through HSV is gone once per image.

Source: torchvision's ColorJitter, which SimCLR's and the other methods' published code uses.
"""

import torch
from torch import Generator, Tensor

from fedvssl.models.augments.image.grey import luma
from fedvssl.models.augments.image.hue import turn_hue_
from fedvssl.models.augments.image.op import ImageOp, require_interval
from fedvssl.registry import MODELS

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


@MODELS.register_module()
class ColorJitter(ImageOp):
    """With probability `p`, changes an image's colours; the four changes come in random order.

    Args:
        brightness: Strength, at least 0, which changes nothing.
        contrast: Likewise.
        saturation: Likewise.
        hue: Largest turn of the hue, 0 to 0.5 turns.
        p: Probability that an image is changed.

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(self, brightness: float, contrast: float, saturation: float, hue: float, p: float = 0.8) -> None:
        super().__init__(p)
        require_interval('ColorJitter', 0, float('inf'), brightness=brightness, contrast=contrast,
                         saturation=saturation)
        require_interval('ColorJitter', 0, 0.5, hue=hue)
        strengths = torch.tensor([brightness, contrast, saturation], dtype=torch.float32)
        self.low = torch.cat([(1 - strengths).clamp(min=0), torch.tensor([-hue])])
        self.high = torch.cat([1 + strengths, torch.tensor([hue])])

    def draw(self, batch: int, generator: Generator) -> Tensor:
        """Returns the factors, and when each of the four is due (0 to 3), (B, 8)."""
        factors = self.low + (self.high - self.low) * torch.rand(batch, 4, generator=generator)
        when = torch.rand(batch, 4, generator=generator).argsort(dim=1)
        return torch.cat([factors, when], dim=1)

    def order(self, parameters: Tensor) -> Tensor:
        """Sorts images by when their hue is due."""
        return parameters[:, 4 + HUE].argsort(stable=True)

    def change(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Returns jittered images."""
        jitter_(images.flatten(2), parameters[:, :4], parameters[:, 4:].long())
        return images


def jitter_(x_N3P: Tensor, factors: Tensor, when: Tensor) -> Tensor:
    """Changes colours in place.

    Args:
        x_N3P: RGB in [0, 1], (N, 3, P), sorted by when the hue is due.
        factors: Of brightness, contrast, saturation, and the hue's turns, (N, 4) on the CPU.
        when: Which of an image's four changes each of these is, int64 (N, 4) on the CPU.
    """
    kinds = when[:, :HUE].argsort(dim=1)  # the three without the hue, in their order
    pulls = linear_coefficients(factors.gather(1, kinds), kinds).to(x_N3P.device, x_N3P.dtype)
    turns = factors[:, HUE].to(x_N3P.device, x_N3P.dtype)
    ends = torch.bincount(when[:, HUE], minlength=4).cumsum(0).tolist()
    any_turn = bool(factors[:, HUE].any())
    for step, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        if any_turn and end > start:
            turn_hue_(x_N3P[start:end], turns[start:end])
        if step < HUE:
            linear_(x_N3P, *pulls[:, :, step, None])
    return x_N3P


def linear_coefficients(factors: Tensor, kinds: Tensor) -> Tensor:
    """Returns f, α and β of the formula above, (3, ...), for factors (...) of changes of given kinds (...)."""
    rest = 1 - factors
    return torch.stack([factors, rest * (kinds == SATURATION), rest * (kinds == CONTRAST)])


def linear_(x_N3P: Tensor, factor: Tensor, to_luma: Tensor, to_mean: Tensor) -> Tensor:
    """Computes f·x + α·luma + β·mean luma in place, clamped; f, α and β are (N, 1)."""
    base_NP = luma(x_N3P)
    mean = base_NP.mean(dim=1, keepdim=True)
    base_NP.mul_(to_luma).add_(mean.mul_(to_mean))
    return torch.addcmul(base_NP[:, None], x_N3P, factor[:, None], out=x_N3P).clamp_(0, 1)
