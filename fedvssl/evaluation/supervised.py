"""Training on labels: a run's model, optimiser and videos, its epochs, and the state between them."""

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fedvssl import rng
from fedvssl.config import RunConfig, TrainingConfig
from fedvssl.data.dataset import build_dataset
from fedvssl.data.loader import build_loader
from fedvssl.errors import ConfigError
from fedvssl.evaluation.features import weights_digest
from fedvssl.evaluation.labels import train_and_test_videos
from fedvssl.evaluation.metrics import accuracy_report
from fedvssl.registry import MODELS
from fedvssl.state import CentralState
from fedvssl.training.hooks import Hook
from fedvssl.training.snapshot import load_snapshot, require_finite, require_finite_loss, snapshot
from fedvssl.training.trainer import Span, Trainer, build_trainer
from fedvssl.weights import LoadReport, load_backbone, read_weights

Report = dict[str, Any]


@dataclass(frozen=True)
class FineTuningState(CentralState):
    """Everything the next epoch needs, and what the result will say of those before it.

    Attributes:
        curve: ``epoch``, ``top1``, ``top5`` and ``mean_class`` of each test.
        best: Report of the first test with the highest top-1, see `accuracy_report`, and its ``epoch``; empty before
            the first test.
        last: Report of the newest test.
        bad_videos: Path and reason of the unreadable videos met so far.
        read_by: How many samples each video reader delivered.
        seconds: Time the epochs took.
    """

    curve: list[Report] = field(default_factory=list)
    best: Report = field(default_factory=dict)
    last: Report = field(default_factory=dict)
    bad_videos: dict[str, str] = field(default_factory=dict)
    read_by: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def tested(self, report: Report) -> 'FineTuningState':
        """Returns the state with one more test."""
        better = not self.best or report['top1'] > self.best['top1']
        point = {key: report[key] for key in ('epoch', 'top1', 'top5', 'mean_class')}
        return replace(self, curve=[*self.curve, point], best=report if better else self.best, last=report)


class FineTuning:
    """What one fine-tuning run works with.

    Args:
        config: Its config, with a section ``training``.

    Attributes:
        task: What its model calls this, e.g. ``'finetune'``.
        steps: Optimiser steps of an epoch.

    Raises:
        ConfigError: If a section is missing, or model and labels do not go together.
        DataListError: If a list is wrong or has labels the head has no output for.
    """

    def __init__(self, config: RunConfig) -> None:
        config = config.centralised()
        self.config, data = config, config.data
        self.settings: TrainingConfig = config.section('training')
        self.task: str = _require_recognizer(config).task
        train, test = train_and_test_videos(config)
        assert data.test is not None  # as `train_and_test_videos` checked
        self.train = build_dataset(data, data.train, train, replace_bad=True, device=config.runtime.device)
        self.test = build_dataset(data, data.test, test, replace_bad=False, device=config.runtime.device)
        self.train_loader = build_loader(self.train, data.batch_size, data.workers)
        self.test_loader = build_loader(self.test, data.test_batch_size, data.workers)
        self.trainer: Trainer = build_trainer(config)
        self.steps = self.train_loader.num_batches(len(self.train))

    def close(self) -> None:
        """Ends what loads the videos."""
        self.train_loader.close()
        self.test_loader.close()

    def load(self, checkpoint: str) -> LoadReport:
        """Loads a pretrained backbone.

        Raises:
            CheckpointError: If nothing matches, shapes differ, or the file is damaged.
        """
        return load_backbone(self.trainer.model, read_weights(checkpoint), checkpoint)

    def backbone_digest(self) -> str:
        """Returns the SHA-256 of the backbone as it is now: names, types, shapes and values."""
        return weights_digest(self.trainer.model.backbone)

    def start(self) -> FineTuningState:
        """Returns the state before the first epoch."""
        return FineTuningState(round=0, **snapshot(self.trainer))

    def restore(self, state: FineTuningState) -> None:
        """Puts the run where `state` was taken."""
        load_snapshot(self.trainer, state.tensors, state.optimizer, state.loss_scale)

    def run_epoch(self, state: FineTuningState, hook: Hook) -> FineTuningState:
        """Trains the epoch after `state`, where the trainer must be, and tests every `evaluate_every` and at the end.

        Raises:
            ConfigError: If a loss or the weights are not finite.
            BadVideosError: If too many videos are unreadable.
        """
        begun, epoch = time.perf_counter(), state.round + 1
        read_before = self._read_by()
        metrics: dict[str, Any] = self._fit(epoch, hook)
        if epoch % self.settings.evaluate_every == 0 or epoch == self.settings.epochs:
            report = {**self._evaluate(), 'epoch': epoch}
            state, metrics = state.tested(report), {**metrics, 'test_accuracy': report['top1']}
        parts = snapshot(self.trainer)
        require_finite(epoch, parts['tensors'], parts['optimizer'])
        return replace(
            state, round=epoch, metrics=metrics, **parts, seconds=state.seconds + time.perf_counter() - begun,
            reproducible=state.reproducible and not (self.train.lost or self.test.lost),
            bad_videos={**state.bad_videos, **self.train.bad, **self.test.bad},
            read_by=dict(Counter(state.read_by) + (self._read_by() - read_before)))

    def _read_by(self) -> Counter[str]:
        return self.train.read_by + self.test.read_by

    def _fit(self, epoch: int, hook: Hook) -> dict[str, float]:
        seed, epochs, indices = self.config.seed, self.settings.epochs, np.arange(len(self.train))
        rng.seed_torch(seed, 'dropout', 'finetune', epoch)
        self.trainer.begin_epoch(self.steps)
        batches = self.train_loader.shuffled(indices, seed, 'finetune', epoch)
        metrics = self.trainer.fit(batches, Span((epoch - 1) / epochs, epoch / epochs, self.steps), hook, epoch)
        self.train.check_bad(self.config.data.max_bad_videos)
        require_finite_loss(epoch, metrics['loss'])
        return metrics

    def _evaluate(self) -> Report:
        indices = np.arange(len(self.test))
        scores, target = self.trainer.predict(self.test_loader.in_order(indices, self.config.seed, 'test'))
        self.test.check_bad(self.config.data.max_bad_videos)
        return accuracy_report(scores, target)


def _require_recognizer(config: RunConfig) -> Any:
    """Returns the class of a model that learns labels, and no other: pretext tasks have a section ``training`` too."""
    name = config.model['type']
    model = MODELS.get(name)
    if not getattr(model, 'learns_labels', False):
        raise ConfigError(f'model.type: {name} is a pretext task, which fine-tuning does not train; take a config of a '
                          f'Recognizer, such as those in configs/downstream')
    return model
