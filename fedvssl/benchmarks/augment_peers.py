"""What our augmentation of images is measured against: Pillow, image by image, and kornia on batches.

Both do SimCLR's operations with parameters from the same distributions as ours. Pillow's steps are those of
torchvision's transforms on PIL images: the image is cut and resized (with antialiasing, as Pillow always does), the
colours are changed by ``ImageEnhance``, the hue through 8-bit HSV; parameters are drawn from torch, number by number,
and each image becomes a tensor of its own, as there. The lean variant draws from Python's ``random`` and converts the
batch at once: it shows what Pillow itself costs. Neither knows anything of our code.
"""

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedvssl.errors import ConfigError

Pipeline = Callable[[Tensor], Tensor]


class TorchNumbers:
    """Numbers from torch, one by one, as torchvision's transforms draw them; called like those of ``random.Random``."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def random(self) -> float:
        """Returns a number of U(0, 1)."""
        return torch.rand(1, generator=self.generator).item()

    def uniform(self, low: float, high: float) -> float:
        """Returns a number of U(low, high)."""
        return torch.empty(1).uniform_(low, high, generator=self.generator).item()

    def randint(self, low: int, high: int) -> int:
        """Returns a whole number in low..high."""
        return int(torch.randint(low, high + 1, (1,), generator=self.generator).item())

    def sample(self, population: range, k: int) -> list[int]:
        """Returns `k` different numbers of 0.. in random order."""
        return torch.randperm(len(population), generator=self.generator)[:k].tolist()


class PillowPipeline:
    """Resized crop with flip, jitter, grey, and perhaps blur, of one image after the other.

    Args:
        jitter: Strengths of brightness, contrast and saturation, and the largest turn of the hue.
        blur: Probability of the blur.
        seed: Of the parameters.
        lean: Whether numbers and conversion are as cheap as can be, rather than torchvision's.

    Raises:
        ConfigError: If Pillow is not installed.
    """

    def __init__(self, jitter: tuple[float, float, float, float], blur: float, seed: int,
                 lean: bool = False) -> None:
        try:
            from PIL import Image, ImageEnhance, ImageFilter
        except ImportError as error:
            raise ConfigError(f'the benchmark of augmentation compares with Pillow: pip install pillow ({error})'
                              ) from error
        self.image, self.filter = Image, ImageFilter
        self.enhance = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
        self.jitter, self.blur, self.lean = jitter, blur, lean
        self.random: random.Random | TorchNumbers = random.Random(seed) if lean else TorchNumbers(seed)

    def __call__(self, images_BHWC: Tensor) -> Tensor:
        """Returns a view of each image of uint8 (B, H, W, 3), float32 (B, 3, H, H) in [0, 1]."""
        if not self.lean:
            return torch.stack([to_tensor(self.view(image)) for image in images_BHWC.numpy()])
        views = torch.from_numpy(np.stack([np.asarray(self.view(image)) for image in images_BHWC.numpy()]))
        return views.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255)

    def view(self, array: np.ndarray) -> Any:
        """Returns a view of one image, uint8 (H, W, 3), as a picture of Pillow's."""
        size = len(array)
        image = self.image.fromarray(array)
        image = image.crop(self.box(*image.size)).resize((size, size), self.image.Resampling.BILINEAR)
        if self.random.random() < 0.5:
            image = image.transpose(self.image.Transpose.FLIP_LEFT_RIGHT)
        if self.random.random() < 0.8:
            image = self.jittered(image)
        if self.random.random() < 0.2:
            image = image.convert('L').convert('RGB')
        if self.random.random() < self.blur:
            image = image.filter(self.filter.GaussianBlur(self.random.uniform(0.1, 2)))
        return image

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Draws a box: left, upper, right, lower."""
        for _ in range(10):
            area = width * height * self.random.uniform(0.08, 1)
            aspect = math.exp(self.random.uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                x, y = self.random.randint(0, width - w), self.random.randint(0, height - h)
                return x, y, x + w, y + h
        return 0, 0, width, height

    def jittered(self, image: Any) -> Any:
        """Changes the colours in random order."""
        *strengths, hue = self.jitter
        for kind in self.random.sample(range(4), 4):
            if kind < 3:
                factor = self.random.uniform(max(0, 1 - strengths[kind]), 1 + strengths[kind])
                image = self.enhance[kind](image).enhance(factor)
            else:
                image = self.turned(image, self.random.uniform(-hue, hue))
        return image

    def turned(self, image: Any, turns: float) -> Any:
        """Turns the hue by 256ths of a circle."""
        hue, saturation, value = image.convert('HSV').split()
        moved = np.asarray(hue) + np.uint8(int(turns * 255) % 256)
        return self.image.merge('HSV', (self.image.fromarray(moved), saturation, value)).convert('RGB')


def to_tensor(image: Any) -> Tensor:
    """Returns a picture as float32 (3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def kornia_pipeline(jitter: tuple[float, float, float, float], blur: float, size: int, seed: int,
                    cropping: str) -> Pipeline:
    """Returns kornia's operations; from its own generator, torch's global one.

    Args:
        jitter: As above.
        blur: As above.
        size: Side of the images; the blur's kernel has 3 pixels, that of 32.
        seed: Of the parameters.
        cropping: How kornia crops: 'slice' cuts each box out, 'resample' warps the batch.

    Raises:
        ImportError: If kornia is not installed.
    """
    from kornia import augmentation

    torch.manual_seed(seed)
    steps: list[torch.nn.Module] = [
        augmentation.RandomResizedCrop((size, size), scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), cropping_mode=cropping,
                                       align_corners=False),
        augmentation.RandomHorizontalFlip(p=0.5),
        augmentation.ColorJitter(*jitter, p=0.8),
        augmentation.RandomGrayscale(p=0.2)]
    if blur:
        steps.append(augmentation.RandomGaussianBlur((3, 3), (0.1, 2.0), p=blur))
    chain = torch.nn.Sequential(*steps)

    def run(images_BHWC: Tensor) -> Tensor:
        floats = images_BHWC.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        with torch.no_grad():
            return chain(floats.div_(255))

    return run
