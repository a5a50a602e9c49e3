"""A linear classifier on fixed features: softmax regression by stochastic gradient descent, and the choice of its rate.

    loss = mean over a batch of -log softmax(W h + b)[y];   W, b start at 0

Every learning rate is tried on the training set less a class-balanced part of it; the one with the best top-1 on that
part (then the lower cross-entropy, then the smaller rate) is trained anew on the whole set. The loss is convex, so
zeros will do for a start, and the only random numbers are which videos are held out and the order of each epoch.

Rates are those of a batch of 256 and scale with the batch size, as is usual (Goyal et al., "Accurate, Large Minibatch
SGD", 2017); the list spans what published probes take, from 0.1 to MoCo's 30.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fedvssl import rng
from fedvssl.errors import ConfigError, DataListError
from fedvssl.evaluation.metrics import top_k_accuracy
from fedvssl.sections import CachedLinearConfig
from fedvssl.training.schedules import CosineSchedule

REFERENCE_BATCH = 256  # which the learning rates are for


@dataclass(frozen=True)
class LinearClassifier:
    """``weight`` (classes, d) and ``bias`` (classes,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Returns logits (n, classes) of features (n, d)."""
        return F.linear(features, self.weight, self.bias)

    @property
    def finite(self) -> bool:
        """Whether training did not diverge."""
        return bool(self.weight.isfinite().all() and self.bias.isfinite().all())


@dataclass(frozen=True)
class Trial:
    """What a learning rate (of a batch of 256) gave on the held-out part; None where training diverged."""

    learning_rate: float
    top1: float | None
    cross_entropy: float | None


def train_linear(features: Tensor, labels: Tensor, classes: int, learning_rate: float, settings: CachedLinearConfig,
                 seed: int, stream: str) -> LinearClassifier:
    """Trains a classifier.

    Args:
        features: float32 (n, d), on the CPU.
        labels: int64 (n,), 0..classes - 1.
        classes: Number of classes.
        learning_rate: At the start, of a batch of 256; it falls to 0 along half a cosine.
        settings: Epochs, batch size, momentum, weight decay.
        seed: Seed of the run.
        stream: Name of the stream of epochs' orders, so that different trainings draw different ones.

    Raises:
        DataListError: If a label is out of range, or there is nothing to train on.
    """
    require_labels(labels, classes)
    weight = torch.zeros(classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    rate, schedule = learning_rate * settings.batch_size / REFERENCE_BATCH, CosineSchedule()
    optimizer = torch.optim.SGD([weight, bias], lr=rate, momentum=settings.momentum, weight_decay=settings.weight_decay)
    for progress, batch in _batches(len(labels), settings, seed, stream):
        optimizer.param_groups[0]['lr'] = rate * schedule(progress)
        optimizer.zero_grad()
        F.cross_entropy(F.linear(features[batch], weight, bias), labels[batch]).backward()
        optimizer.step()
    return LinearClassifier(weight.detach(), bias.detach())


def _batches(n: int, settings: CachedLinearConfig, seed: int, stream: str) -> Iterator[tuple[float, Tensor]]:
    """Yields progress in 0..1 and the samples of each step, in batches of almost equal sizes: a last one of a few
    samples would take a step as long as the others', on noise.
    """
    steps = math.ceil(n / settings.batch_size)
    for epoch in range(settings.epochs):
        order = rng.generator(seed, 'order', 'linear', stream, epoch + 1).permutation(n)
        for step, batch in enumerate(np.array_split(order, steps)):
            yield (epoch + step / steps) / settings.epochs, torch.from_numpy(batch)


def choose_rate(features: Tensor, labels: Tensor, classes: int, settings: CachedLinearConfig,
                seed: int) -> tuple[float, list[Trial]]:
    """Tries every learning rate on the training set less what is held out.

    Args:
        features: float32 (n, d) of the training set.
        labels: int64 (n,).
        classes: Number of classes.
        settings: What to try, and how.
        seed: Seed of the run.

    Returns:
        The chosen rate, and all trials; none if there is but one rate, which is taken.

    Raises:
        DataListError: If a label is out of range, or no class has two videos.
        ConfigError: If training diverged with each of them.
    """
    require_labels(labels, classes)
    if len(settings.learning_rates) == 1:
        return settings.learning_rates[0], []
    kept, held = hold_out(labels, settings.held_out, seed)
    trials = []
    for rate in settings.learning_rates:
        classifier = train_linear(features[kept], labels[kept], classes, rate, settings, seed, 'held-out')
        trials.append(_trial(rate, classifier, features[held], labels[held]))
    finished = [trial for trial in trials if trial.top1 is not None and trial.cross_entropy is not None]
    if not finished:
        raise ConfigError(f'evaluation.linear.learning_rates: training diverged with each of '
                          f'{settings.learning_rates}; add smaller ones')
    best = min(finished, key=lambda trial: (-(trial.top1 or 0.0), trial.cross_entropy, trial.learning_rate))
    return best.learning_rate, trials


def _trial(rate: float, classifier: LinearClassifier, features: Tensor, labels: Tensor) -> Trial:
    if not classifier.finite:
        return Trial(rate, None, None)
    logits = classifier(features)
    return Trial(rate, top_k_accuracy(logits, labels, 1), float(F.cross_entropy(logits.double(), labels)))


def hold_out(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Divides samples into those to train on and those to choose the learning rate by, class by class.

    Of a class of n samples max(1, ⌊share · n + 0.5⌋) are held out, but never all: a class of one sample is only
    trained on.

    Args:
        labels: int64 (n,).
        share: Share to hold out, above 0 and below 1.
        seed: Seed of the run.

    Returns:
        The indices of both parts, ascending.

    Raises:
        DataListError: If no class has two samples.
    """
    held: list[int] = []
    for label in labels.unique().tolist():
        members = torch.nonzero(labels == label).flatten().numpy()
        count = min(max(1, math.floor(share * len(members) + 0.5)), len(members) - 1)
        held += rng.generator(seed, 'held-out', 'linear', label).permutation(members)[:count].tolist()
    if not held:
        raise DataListError(f'the {len(labels)} training videos are of as many classes, so that none can be held out '
                            f'to choose the learning rate by; give evaluation.linear.learning_rates a single one')
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[held] = True
    return torch.nonzero(~chosen).flatten(), torch.nonzero(chosen).flatten()


def require_labels(labels: Tensor | Sequence[int], classes: int) -> None:
    """Checks labels before they index anything.

    Raises:
        DataListError: If there are none, or one is out of 0..classes - 1.
    """
    labels = torch.as_tensor(labels)
    if not len(labels):
        raise DataListError('there are no labelled videos to train a linear probe on')
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataListError(f'label {low if low < 0 else high} is out of range: {classes} classes take 0 to '
                            f'{classes - 1}')
