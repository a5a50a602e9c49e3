"""What all models share: a backbone to keep, mmengine's three forward modes, and what trainer and client ask."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from fedvssl import rng
from fedvssl.registry import MODELS, build


def build_model(cfg: dict, seed: int) -> 'BackboneModel':
    """Builds a model and initialises it from the run's seed, so that server and clients start from the same bits.

    Args:
        cfg: A config with ``type``.
        seed: The run's seed.

    Raises:
        ConfigError: If the model refuses its arguments.
    """
    rng.seed_torch(seed, 'init')
    model = build(MODELS, cfg, 'model')
    with _silence():
        model.init_weights()
    return model


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps mmengine from logging one line per parameter it initialises."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        yield
    finally:
        logger.setLevel(level)


class BackboneModel(BaseModel):
    """A model that is trained for the sake of its ``backbone``, behind ``forward(inputs, data_samples, mode)``.

    Args:
        data_preprocessor: Config of the preprocessor; its output is what `forward` takes.

    Attributes:
        client_local: Parts, beside the head, that stay with a client whatever a strategy exchanges.
        wants_target: Whether sampler or augmentation must make a target.
        wants_independent_clips: Whether each clip of a sample must be transformed by draws of its own.
        learns_labels: Whether the targets are the samples' labels.
        penalty: What is added to the loss that is optimised, beside the task's own; None: nothing.
    """

    client_local: frozenset[str] = frozenset()
    wants_target = True
    wants_independent_clips = False
    learns_labels = False
    penalty: Callable[[], Tensor] | None = None
    backbone: nn.Module

    def __init__(self, data_preprocessor: dict) -> None:
        super().__init__(data_preprocessor=MODELS.build(data_preprocessor))

    def forward(self, inputs: Any, data_samples: dict[str, Tensor] | None = None,
                mode: str = 'tensor') -> Tensor | dict[str, Tensor]:
        """Runs one of the three modes.

        Args:
            inputs: What the preprocessor makes of a batch.
            data_samples: What the task needs, e.g. ``target`` int64 (B,).
            mode: ``tensor`` (features), ``loss`` (dict with ``loss`` and what is worth logging) or ``predict``.
        """
        if mode == 'tensor':
            return self.features(inputs)
        if mode == 'loss':
            return self.loss(inputs, data_samples or {})
        if mode == 'predict':
            return self.predict(inputs, data_samples or {})
        raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', not {mode!r}")

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns what is optimised, ``loss`` and a penalty if there is one, and what is logged: everything.

        mmengine's version optimises the sum of all that have "loss" in their names.
        """
        if self.penalty is None:
            return losses['loss'], dict(losses)
        penalty = self.penalty()
        return losses['loss'] + penalty, dict(losses, penalty=penalty)

    def before_step(self, progress: float) -> None:
        """Called before each step of training, with the run's progress in 0..1."""

    def after_step(self, progress: float) -> None:
        """Called after each step of the optimiser, with the same progress: the place for moving averages of weights."""

    @abstractmethod
    def features(self, inputs: Any) -> Tensor:
        """Returns the backbone's feature maps."""

    @abstractmethod
    def loss(self, inputs: Any, data_samples: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the training loss (key ``loss``) and further scalars to log."""

    @abstractmethod
    def predict(self, inputs: Any, data_samples: dict[str, Tensor]) -> Tensor:
        """Returns what an evaluation compares with the target."""

    @abstractmethod
    def score(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Returns how good the predictions (n, ...) of n samples are, given their targets (n, ...)."""


class Classifier(BackboneModel):
    """A model whose task is a classification: cross-entropy on logits."""

    @abstractmethod
    def predict(self, inputs: Any, data_samples: dict[str, Tensor]) -> Tensor:
        """Returns logits (B, classes)."""

    def loss(self, inputs: Any, data_samples: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the mean cross-entropy and the share of correct answers over the batch."""
        logits, target = self.predict(inputs, data_samples), data_samples['target']
        return dict(loss=F.cross_entropy(logits, target), accuracy=share_correct(logits, target))

    def score(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Returns the accuracy of logits (n, classes) and their mean cross-entropy."""
        return dict(accuracy=float((predictions.argmax(dim=1) == targets).double().mean()),
                    loss=float(F.cross_entropy(predictions, targets)))


def share_correct(logits: Tensor, target: Tensor) -> Tensor:
    """Returns the top-1 accuracy, a scalar in 0..1, of logits (B, C) against targets (B,)."""
    return (logits.argmax(dim=1) == target).to(torch.float32).mean()
