"""From a batch of uint8 images to its augmented views."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Generator, Tensor

from fedvssl.errors import ConfigError
from fedvssl.models.augments.image.op import ImageOp
from fedvssl.registry import MODELS, build

Op = Callable[[Tensor, Generator], Tensor]


def build_views(views: Sequence[Sequence[Mapping]], key: str = 'views') -> list[list[Op]]:
    """Builds the augmentations of each view.

    Args:
        views: Configs of each view's augmentations, in their order; `presets` has those of the methods.
        key: Their dotted key in the config, for messages.

    Raises:
        ConfigError: If there is no view, or an augmentation refuses its arguments.
    """
    if not views:
        raise ConfigError(f'{key}: there must be at least one view')
    return [[build(MODELS, op, f'{key}[{number}]') for op in view] for number, view in enumerate(views)]


def augment(images_BHWC: Tensor, views: Sequence[Sequence[Op]], generator: Generator) -> list[Tensor]:
    """Makes the views of a batch.

    Args:
        images_BHWC: uint8 (B, H, W, 3), RGB; on any device, not changed.
        views: Each view's augmentations, from `build_views`; none leaves the images as they are.
        generator: On the CPU; where the random numbers come from, view by view.

    Returns:
        float32 (B, 3, h, w) in [0, 1] per view, on the images' device.

    Raises:
        ConfigError: If these are not such images.
    """
    return augment_floats(to_floats(images_BHWC), views, generator)


def augment_floats(images_BCHW: Tensor, views: Sequence[Sequence[Op]], generator: Generator) -> list[Tensor]:
    """Makes the views of float images (B, 3, H, W) in [0, 1], which are not changed; else as `augment`."""
    return [_view(images_BCHW, view, generator) for view in views]


def to_floats(images_BHWC: Tensor) -> Tensor:
    """Returns uint8 images (B, H, W, 3) as float32 (B, 3, H, W) in [0, 1], in memory column by column.

    So `ResizedCrop`, with which every view of every method begins, can take it as it is.

    Raises:
        ConfigError: If these are not such images.
    """
    if images_BHWC.dtype != torch.uint8 or images_BHWC.ndim != 4 or images_BHWC.shape[-1] != 3:
        raise ConfigError(f'augment: takes uint8 images (B, H, W, 3), not {images_BHWC.dtype} of shape '
                          f'{tuple(images_BHWC.shape)}')
    floats_BWCH = images_BHWC.permute(0, 2, 3, 1).to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    return floats_BWCH.permute(0, 2, 3, 1)


def _view(floats: Tensor, ops: Sequence[Op], generator: Generator) -> Tensor:
    """Applies a view's operations; what one of them has made, the next may overwrite."""
    images = floats
    for op in ops:
        ours = images is not floats and images.is_contiguous()
        images = op.apply_(images, generator) if ours and isinstance(op, ImageOp) else op(images, generator)
    return images.contiguous()
