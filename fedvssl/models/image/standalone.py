"""The image methods without a config, a trainer or a federation: a module that augments a batch and returns its loss.

    model = build('byol', 'resnet18', steps=10_000)
    for images, _ in loader:                       # float (B, 3, 32, 32) in [0, 1]
        loss = model(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    features = model.backbone(images)              # (B, 512), of the same images, not augmented

It normalises what it is given, in training and afterwards, and moves slow copies, temperatures and queues by itself: a
copy follows at the next call, once the optimiser has taken its step.
"""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fedvssl.errors import ConfigError, suggest
from fedvssl.models.augments.image.views import augment_floats
from fedvssl.models.base import build_model
from fedvssl.models.image.base import ImageModel, pool

METHODS = dict(simclr='SimCLR', simclrv2='SimCLRv2', supcon='SupCon', simsiam='SimSiam', byol='BYOL', swav='SwAV',
               barlow_twins='BarlowTwins', dino='DINO', mocov1='MoCoV1', mocov2='MoCoV2', mocov3='MoCoV3')

# Projectors and predictors as published, without their dimensions where those follow from the backbone's.
_PARTS: dict[str, dict[str, Any]] = dict(
    simclr=dict(neck=dict(last_norm='affine')), simclrv2=dict(neck=dict(num_layers=3, last_norm='affine')),
    supcon=dict(neck=dict(norm=False)),
    simsiam=dict(neck=dict(num_layers=3, hidden_channels=2048, out_channels=2048, last_norm='plain'),
                 predictor=dict(hidden_channels=512)),
    byol=dict(neck=dict(hidden_channels=4096, out_channels=256), predictor=dict(hidden_channels=4096)),
    swav=dict(neck=dict(hidden_channels=2048)),
    barlow_twins=dict(neck=dict(num_layers=3, hidden_channels=8192, out_channels=8192)),
    dino=dict(neck=dict(num_layers=3, hidden_channels=2048, out_channels=256, norm=False, activation='gelu')),
    mocov1=dict(neck=dict(num_layers=1)), mocov2=dict(neck=dict(norm=False)),
    mocov3=dict(neck=dict(hidden_channels=4096, out_channels=256, last_norm='plain'),
                predictor=dict(hidden_channels=4096)))

_BACKBONES: dict[str, Callable[[str], dict[str, Any]]] = {
    r'resnet(18|34|50|101|152)': lambda depth: dict(type='ResNetCIFAR', depth=int(depth)),
    r'vgg(11|13|16|19)': lambda depth: dict(type='VGGCIFAR', depth=int(depth), bn=False),
    r'vgg(11|13|16|19)_bn': lambda depth: dict(type='VGGCIFAR', depth=int(depth), bn=True),
    r'densenet(121|161|169|201)': lambda depth: dict(type='DenseNetCIFAR', depth=int(depth)),
    r'efficientnet_(b[0-7])': lambda variant: dict(type='EfficientNetCIFAR', variant=variant),
    r'(alexnet)': lambda _: dict(type='AlexNetCIFAR'),
    r'(conv4)': lambda _: dict(type='Conv4'),
}


class Standalone(nn.Module):
    """A method that is called with images.

    Args:
        model: The method.
        steps: Steps of the whole training, which its schedules run over.
        seed: Of what is drawn for augmentation.
    """

    def __init__(self, model: ImageModel, steps: int, seed: int) -> None:
        super().__init__()
        self.model, self.steps = model, steps
        self.step = 0
        self._generator = torch.Generator().manual_seed(seed)
        self._moved = True

    def forward(self, images_BCHW: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns the loss of a batch, a scalar.

        Args:
            images_BCHW: float (B, 3, H, W) in [0, 1].
            labels: int64 (B,), for SupCon.

        Raises:
            ConfigError: If a method that learns from labels gets none, or these are not such images.
        """
        model = self.model
        if labels is None and model.needs_labels:
            raise ConfigError(f'labels: {type(model).__name__} learns from them; call model(images, labels)')
        if self.training:
            self._advance()
        preprocessor = model.data_preprocessor
        views = [preprocessor.normalised(view) for view in augment_floats(images_BCHW, preprocessor.views,
                                                                          self._generator)]
        return model.loss(views, {} if labels is None else dict(target=labels))['loss']

    def _advance(self) -> None:
        """Finishes the last step, which the optimiser has taken since, and begins the next."""
        if not self._moved:
            self.model.after_step(min((self.step - 1) / self.steps, 1.0))
        self.model.before_step(min(self.step / self.steps, 1.0))
        self.step, self._moved = self.step + 1, False

    def backbone(self, images_BCHW: Tensor) -> Tensor:
        """Returns the features (B, C) of images in [0, 1]: what is kept."""
        return pool(self.model.backbone(self.model.data_preprocessor.normalised(images_BCHW)))

    def encoder(self, images_BCHW: Tensor) -> Tensor:
        """Returns the embeddings (B, D) of images in [0, 1], behind the projector."""
        return self.model.neck(self.backbone(images_BCHW))


def build(name: str, backbone: str | dict | nn.Module, steps: int, image_size: int = 32, seed: int = 0,
          **options: Any) -> Standalone:
    """Builds a method to be used on its own.

    Args:
        name: A key of `METHODS`.
        backbone: A name such as ``'resnet18'``, ``'vgg16_bn'`` or ``'efficientnet_b0'``; a config; or a module that
            gives feature maps and tells their channels as ``feat_dim``.
        steps: Steps of the whole training, which learning-rate-like schedules of the method run over.
        image_size: Side of the views in pixels.
        seed: Of initial weights and augmentation.
        **options: Arguments of the method, e.g. ``temperature``; ``neck`` and ``predictor`` change the published ones.

    Raises:
        ConfigError: If there is no such method or backbone, or an argument is out of its range.
    """
    if name not in METHODS:
        raise ConfigError(f'build: no method is called {name!r}{suggest(name, METHODS)}')
    if not isinstance(steps, int) or steps < 1:
        raise ConfigError(f'build: steps is the number of steps of the whole training, at least 1, not {steps!r}')
    parts = {part: dict(type='MLP') | published | options.pop(part, {}) for part, published in _PARTS[name].items()}
    model = build_model(dict(type=METHODS[name], backbone=_backbone(backbone), **parts, **options,
                             data_preprocessor=dict(type='ImagePreprocessor', views=name, size=image_size)), seed)
    assert isinstance(model, ImageModel)
    return Standalone(model, steps, seed)


def _backbone(backbone: str | dict | nn.Module) -> dict | nn.Module:
    if not isinstance(backbone, str):
        return backbone
    for pattern, config in _BACKBONES.items():
        if found := re.fullmatch(pattern, backbone):
            return config(found[1])
    known = ['resnet18', 'resnet50', 'vgg16_bn', 'densenet121', 'efficientnet_b0', 'alexnet', 'conv4']
    raise ConfigError(f'build: no backbone is called {backbone!r}{suggest(backbone, known)}')
