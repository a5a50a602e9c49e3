"""What the augmentations of images share: random numbers, one set per image, and that only the chosen ones are changed.

The numbers are drawn on the CPU, for every image of the batch, chosen or not, and always in the same order: a batch
looks alike on any device, and whether an image is changed does not depend on the others.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from fedvssl.errors import ConfigError


class ImageOp:
    """An augmentation that keeps the images' size, with probability `p` per image.

    A subclass draws its parameters in `draw` and changes images in `change`, which sees only the chosen ones.

    Args:
        p: Probability that an image is changed.
    """

    def __init__(self, p: float) -> None:
        require_interval(type(self).__name__, 0, 1, p=p)
        self.p = p

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Returns augmented images, as a new tensor.

        Args:
            images: float32 (B, 3, H, W) in [0, 1].
            generator: On the CPU; where the random numbers come from.

        Raises:
            ConfigError: If these are not such images.
        """
        check_images(type(self).__name__, images)
        return self.apply_(images.clone(memory_format=torch.contiguous_format), generator)

    def apply_(self, images: Tensor, generator: Generator) -> Tensor:
        """Does the same in place, for contiguous images that nobody else needs; returns them."""
        chosen = torch.rand(len(images), generator=generator) < self.p
        index = chosen.nonzero().flatten()
        parameters = self.draw(len(images), generator)
        if not len(index):
            return images
        index = index[self.order(parameters[index])]
        place = index.to(images.device)
        return images.index_copy_(0, place, self.change(images.index_select(0, place), parameters[index]))

    def draw(self, batch: int, generator: Generator) -> Tensor:
        """Returns the parameters of each image, (B, P) on the CPU; P = 0 where there are none."""
        return torch.empty(batch, 0)

    def order(self, parameters: Tensor) -> Tensor:
        """Returns in which order `change` wants the chosen images, whose parameters these are (n, P); int64 (n,)."""
        return torch.arange(len(parameters))

    def change(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Returns changed images (n, 3, H, W), of at least one; may overwrite the given ones.

        Args:
            images: float32 (n, 3, H, W), contiguous.
            parameters: (n, P), on the CPU.
        """
        raise NotImplementedError


def check_images(owner: str, images: Tensor) -> None:
    """Checks that images are a float batch of RGB.

    Raises:
        ConfigError: Naming what they are instead.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ConfigError(f'{owner}: takes float images (B, 3, H, W) in [0, 1], not {images.dtype} of shape '
                          f'{tuple(images.shape)}; augment() makes them of uint8 (B, H, W, 3)')


def uniform(generator: Generator, batch: int, low: float, high: float) -> Tensor:
    """Returns numbers from U(low, high), float32 (B,) on the CPU."""
    return low + (high - low) * torch.rand(batch, generator=generator)


def require_interval(owner: str, low: float, high: float, **values: Any) -> None:
    """Checks that numbers lie in [low, high].

    Raises:
        ConfigError: Naming the argument.
    """
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not low <= value <= high:
            wanted = f'a number from {low:g} to {high:g}' if high < float('inf') else f'a number of at least {low:g}'
            raise ConfigError(f'{owner}: {name} must be {wanted}, not {value!r}')


def require_range(owner: str, low: float, high: float, **ranges: Sequence[float]) -> None:
    """Checks that pairs ascend, with low < first <= second <= high.

    Raises:
        ConfigError: Naming the argument.
    """
    for name, pair in ranges.items():
        numbers = isinstance(pair, list | tuple) and all(isinstance(end, int | float) for end in pair)
        if not numbers or len(pair) != 2 or not low < pair[0] <= pair[1] <= high:
            top = f', at most {high:g}' if high < float('inf') else ''
            raise ConfigError(f'{owner}: {name} must be two ascending numbers above {low:g}{top}, not {pair!r}')


def require_size(owner: str, **sizes: Any) -> None:
    """Checks that sizes are positive whole numbers.

    Raises:
        ConfigError: Naming the argument.
    """
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ConfigError(f'{owner}: {name} must be a whole number of pixels, at least 1, not {size!r}')
