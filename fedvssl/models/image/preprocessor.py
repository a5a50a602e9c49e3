"""From uint8 images to a network's normalised views, on the device."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from fedvssl.errors import ConfigError
from fedvssl.models.augments.image.presets import method_views, training_views
from fedvssl.models.augments.image.views import augment, build_views
from fedvssl.registry import MODELS

CROP = 'crop'
PLAIN: tuple[tuple[dict, ...], ...] = ((),)  # a single view: the image as it is


@MODELS.register_module()
class ImagePreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device, makes its views and normalises them.

    Args:
        mean: Mean of each channel, RGB, on the scale of 0..1 (the defaults are CIFAR-10's).
        std: Standard deviation, likewise.
        views: Augmentations of each view; or the name of a method, whose published ones are taken, or ``'crop'`` for
            those of fine-tuning (`fedvssl.models.augments.image.presets`). By default one view, the image as it is.
        test_views: What takes their place outside of training; None: the same. A classifier is tested on ``[[]]``.
        size: Side of the (big) views in pixels, where `views` is a name.
        local_views: How many small views there are, where `views` names a method that has them.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    augments: Sequence[Any] = ()  # nothing here makes a pretext target

    def __init__(self, mean: Sequence[float] = (0.4914, 0.4822, 0.4465), std: Sequence[float] = (0.247, 0.243, 0.261),
                 views: str | Sequence[Sequence[dict]] = PLAIN, test_views: Sequence[Sequence[dict]] | None = None,
                 size: int = 32, local_views: int = 6) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ConfigError(f'model.data_preprocessor: mean and std are three numbers each, std positive, not {mean} '
                              f'and {std}')
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(3, 1, 1), persistent=False)
        if isinstance(views, str):
            views = training_views(size) if views == CROP else method_views(views, size, local_views)
        self.views = build_views(views, 'model.data_preprocessor.views')
        self.test_views = self.views if test_views is None else build_views(test_views,
                                                                            'model.data_preprocessor.test_views')

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepares one batch.

        Args:
            data: ``inputs`` uint8 (B, H, W, 3); ``data_samples`` with ``target`` (B,) and ``seed``, a scalar.
            training: Whether to make `views` rather than `test_views`.

        Returns:
            The same keys, ``inputs`` as float (B, 3, h, w), or a list of such where there are several views.
        """
        generator = torch.Generator().manual_seed(int(data['data_samples']['seed']))
        data = self.cast_data(data)
        views = augment(data['inputs'], self.views if training else self.test_views, generator)
        normal = [self.normalised(view) for view in views]
        return dict(inputs=normal if len(normal) > 1 else normal[0], data_samples=data['data_samples'])

    def normalised(self, images_BCHW: Tensor) -> Tensor:
        """Returns images of 0..1 with the mean taken off, in units of the standard deviation."""
        return (images_BCHW - self.mean) / self.std
