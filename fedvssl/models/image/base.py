"""What the image methods share: backbone and projector, views, and how well two views of an image find each other.

Config-shaped like mmpretrain's: ``backbone``, ``neck`` (the projector) and, where there is one, ``predictor``. The
backbone gives feature maps (N, C, h, w), or a tuple whose last entry they are, as mmpretrain's do.
"""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedvssl.errors import ConfigError
from fedvssl.models.base import BackboneModel
from fedvssl.models.contrast import share_of_partners
from fedvssl.registry import MODELS

Views = Sequence[Tensor]  # each (N, 3, H, W), normalised


class ImageModel(BackboneModel):
    """Backbone and projector.

    Args:
        backbone: Config of the backbone, or the module itself; it must tell its number of output channels as
            ``feat_dim``.
        neck: Config of the projector, e.g. an `MLP`; built with ``in_channels`` set to ``feat_dim``.
        data_preprocessor: Config of the preprocessor, which makes the views.

    Attributes:
        num_views: How many views of an image the method needs at least.
        needs_labels: Whether it learns from labels beside the images; then they are not withheld from it.
    """

    wants_target = False
    needs_labels = False
    num_views = 2

    def __init__(self, backbone: dict | nn.Module, neck: dict, data_preprocessor: dict) -> None:
        super().__init__(data_preprocessor)
        self.backbone = backbone if isinstance(backbone, nn.Module) else MODELS.build(backbone)
        self.neck = MODELS.build(dict(neck, in_channels=self.backbone.feat_dim))

    def views(self, inputs: Views) -> list[Tensor]:
        """Checks what the preprocessor made.

        Raises:
            ConfigError: If there are fewer views than the method needs, or a batch to train on is a single image.
        """
        name = type(self).__name__
        if not isinstance(inputs, list | tuple) or len(inputs) < self.num_views:
            found = len(inputs) if isinstance(inputs, list | tuple) else 1
            raise ConfigError(f'model.data_preprocessor.views: {name} needs {self.num_views} views of an image, not '
                              f'{found}')
        if self.training and len(inputs[0]) < 2:
            raise ConfigError(f'data.batch_size: {name} cannot learn from a batch of one image: its batch norms and '
                              f'contrasts need others')
        return list(inputs)

    def features(self, inputs: Any) -> Tensor:
        """Returns the feature maps (N, C, h, w) of images (N, 3, H, W); of several views, those of the first."""
        return last_map(self.backbone(inputs if isinstance(inputs, Tensor) else inputs[0]))

    def pooled(self, x_NCHW: Tensor) -> Tensor:
        """Returns the features h (N, C) of images."""
        return pool(self.backbone(x_NCHW))

    def embed(self, x_NCHW: Tensor) -> Tensor:
        """Returns the embeddings z (N, D) of images."""
        return self.neck(self.pooled(x_NCHW))

    def embed_all(self, views: Views) -> list[Tensor]:
        """Returns the embeddings of each view; views of one size go through the network as one batch."""
        found: list[Tensor] = []
        for _, group in groupby(views, key=lambda view: view.shape[2:]):
            same = list(group)
            found += self.embed(torch.cat(same)).chunk(len(same))
        return found

    def predict(self, inputs: Views, data_samples: dict[str, Tensor]) -> Tensor:
        """Returns the embeddings (N, 2, D), of length 1, of the first two views."""
        pair = self.views(inputs)[:2]
        return torch.stack([F.normalize(self.embed(view), dim=1) for view in pair], dim=1)

    def score(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Returns the share of images whose second view is the nearest of all second views to the first.

        Args:
            predictions: Embeddings (n, 2, D).
            targets: Not read. Chance is 1 / n, so compare only equal n.
        """
        return dict(accuracy=share_of_partners(predictions))


class PredictingModel(ImageModel):
    """Backbone, projector and predictor.

    Args:
        backbone: Config of the backbone.
        neck: Config of the projector, which must tell its ``out_channels``.
        predictor: Config of the predictor, e.g. an `MLP`; by default it ends in the projector's space.
        data_preprocessor: Config of the preprocessor.
    """

    def __init__(self, backbone: dict, neck: dict, predictor: dict, data_preprocessor: dict) -> None:
        super().__init__(backbone, neck, data_preprocessor)
        space = self.neck.out_channels
        self.predictor = MODELS.build(dict(out_channels=space) | predictor | dict(in_channels=space))


def last_map(maps: Tensor | Sequence[Tensor]) -> Tensor:
    """Returns the feature maps (N, C, h, w), the last where a backbone gives several."""
    return maps if isinstance(maps, Tensor) else maps[-1]


def pool(maps: Tensor | Sequence[Tensor]) -> Tensor:
    """Returns the mean over height and width (N, C) of a backbone's output."""
    return last_map(maps).mean(dim=(2, 3))


def require_positive(name: str, value: float) -> float:
    """Returns the value of a model's argument.

    Raises:
        ConfigError: If it is not a positive number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f'model.{name}: must be a positive number, not {value!r}')
    return float(value)
