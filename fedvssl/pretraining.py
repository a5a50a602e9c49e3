"""Centralised pretraining: one machine trains the pretext task on all videos, the baseline of a federated run.

It runs the same leaf config, where the section ``training`` says what is done differently in one place. Everything else
is shared: model, clips, transforms, initial weights (by the seed), training loop, evaluation. What a round is there, an
epoch is here: the unit of progress, of the log and of recovery.

    work_dir/rounds/round-000012/    after epoch 12: global.safetensors (the whole model), optimizer.safetensors,
                                     state.json, manifest.json

Labels are withheld from the datasets, so that no mistake in a config can turn this into supervised training; SupCon,
which learns from them, sees them.

With ``training.client`` it trains on the videos of one client of the federation and no others: what that client could
learn alone.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from fedvssl import rng
from fedvssl.commit import write_json
from fedvssl.config import PhaseConfig, RunConfig, TrainingConfig, config_hash, identity
from fedvssl.data.annotations import Video, list_digest
from fedvssl.data.dataset import build_dataset, list_digests, read_videos
from fedvssl.data.loader import build_loader
from fedvssl.data.partitioners import build_partitions, num_own_lists
from fedvssl.environment import describe_environment
from fedvssl.errors import ConfigError, DataListError
from fedvssl.state import CentralState, RoundStore
from fedvssl.training.hooks import Hook, Hooks
from fedvssl.training.labels import visible
from fedvssl.training.logging import ConsoleHook, JsonlHook
from fedvssl.training.monitoring import check_monitors, monitored
from fedvssl.training.rehearsal import rehearse, require_same_classes
from fedvssl.training.snapshot import load_snapshot, require_finite, require_finite_loss, snapshot
from fedvssl.training.trainer import Span, Trainer, build_trainer

BAD_VIDEOS_FILE = 'bad_videos.json'


def check_pretraining(config: RunConfig) -> str:
    """Builds everything, passes one sample through it, and returns a line that says what would run.

    Raises:
        FedVSSLError: For whatever is wrong.
    """
    with closing(Pretraining(config.centralised())) as job:
        for phase in filter(None, (job.train, job.test)):
            phase.dataset.check_files(job.config.data.max_bad_videos)
        check_monitors(job.config)
        state, settings = job.state(0, {}), job.settings
        size = sum(tensor.nbytes for tensor in state.tensors.values())
        held_out = f', {len(job.test.dataset)} held out' if job.test else ''
        return (f'ok: {len(job.train.dataset)} videos{held_out}, {settings.epochs} epochs of {job.steps} steps with '
                f'{job.config.data.batch_size} videos, {len(state.tensors)} tensors ({size / 1e6:.2f} MB), '
                f'config {config_hash(job.config)[:12]}')


def pretrain(config: RunConfig, work_dir: Path, resume: bool = False, hook: Hook | None = None) -> CentralState:
    """Pretrains to the last epoch.

    Args:
        config: The run; its section ``federation`` is not used.
        work_dir: Where it is kept; must not hold a run unless it is to be resumed.
        resume: Whether to continue the run there.
        hook: Side jobs, beside the config's monitors; by default progress on the console and ``log.jsonl``.

    Returns:
        The final state.

    Raises:
        FedVSSLError: For bad input, a loss that is not finite, too many unreadable videos, storage and checkpoint
            failures. The last committed epoch is intact.
    """
    config = config.centralised()
    hook = hook or Hooks([ConsoleHook('epoch', 'step'), JsonlHook(work_dir / 'log.jsonl', every=50)])
    with closing(Pretraining(config)) as job:
        who = dict(identity(config), **list_digests(config.data), **job.own_videos())
        about = dict(config_hash=config_hash(config), seed=config.seed, environment=describe_environment())
        with closing(RoundStore(work_dir, config.runtime.keep_last, about)) as store:
            store.open(who, resume)
            start = job.state(0, {})
            return _run(job, store.restore(start) if resume else start, store, monitored(config, work_dir, hook))


def _run(job: 'Pretraining', state: CentralState, store: RoundStore, hook: Hook) -> CentralState:
    """Trains, measures and commits the epochs that `state` lacks."""
    epochs = job.settings.epochs
    hook.before_run(dict(rounds=epochs, first_round=state.round + 1, videos=len(job.train.dataset), steps=job.steps,
                         config=config_hash(job.config)[:12]))
    begun = time.perf_counter()
    try:
        job.load(state)
        for epoch in range(state.round + 1, epochs + 1):
            hook.before_round(epoch, job.steps)
            finished = job.run_epoch(epoch, hook)
            require_finite(epoch, finished.tensors, finished.optimizer)
            store.commit(finished)
            state = finished
            hook.after_round(epoch, state.metrics)
    except BaseException as error:
        hook.after_run(dict(rounds=state.round, error=f'{type(error).__name__}: {error}'))
        raise
    finally:
        if job.bad_videos:
            write_json(store.work_dir / BAD_VIDEOS_FILE, job.bad_videos)
    hook.after_run(dict(rounds=state.round, seconds=time.perf_counter() - begun,
                        checkpoint=str(store.rounds / 'latest'), reproducible=state.reproducible))
    return state


class _Phase:
    """The videos of one phase, without their labels, and what loads them."""

    def __init__(self, config: RunConfig, phase: PhaseConfig, videos: Sequence[Video], batch_size: int,
                 replace_bad: bool) -> None:
        self.dataset = build_dataset(config.data, phase, visible(config.model, videos), replace_bad,
                                     config.runtime.device)
        self.indices = np.arange(len(videos))
        self.loader = build_loader(self.dataset, batch_size, config.data.workers)


def training_videos(config: RunConfig) -> list[Video]:
    """Returns all training videos, or, with ``training.client``, those that a federation would give that client.

    Their labels are there, as a partition may be by class; who trains takes them off.

    Args:
        config: The run, as `RunConfig.centralised` gives it.

    Raises:
        ConfigError: If there is no such client, or no partition to say what is its.
        DataListError: If the list is wrong or cannot be divided.
    """
    videos, client = read_videos(config.data, config.data.train.split), config.section('training').client
    if client is None:
        return videos
    if num_own_lists(config.data) is not None:
        raise ConfigError('training.client: where every host has a list of its own, all videos of this list are one '
                          "client's; leave it out")
    partitions = build_partitions(config.data, videos, config.seed)
    if client >= len(partitions):
        raise ConfigError(f'training.client: must be 0 to {len(partitions) - 1}, not {client}; data.partition makes '
                          f'{len(partitions)} clients')
    return [videos[index] for index in partitions[client]]


class Pretraining:
    """A run's model, optimiser and videos.

    Args:
        config: The run, as `RunConfig.centralised` gives it.

    Attributes:
        steps: Optimiser steps of an epoch.

    Raises:
        FedVSSLError: If something cannot be built, or nothing makes the target that the model is to learn.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config, data = config, config.data
        self.settings: TrainingConfig = config.section('training')
        if self.settings.label_fraction != 1:
            raise ConfigError(f'training.label_fraction: is {self.settings.label_fraction}, but pretraining reads no '
                              f'labels and takes all videos; it is for tools/finetune.py')
        self.train = _Phase(config, data.train, training_videos(config), data.batch_size, replace_bad=True)
        self.test = _Phase(config, data.test, read_videos(data, data.test.split), data.test_batch_size,
                           replace_bad=False) if data.test else None
        self.trainer: Trainer = build_trainer(config)
        for name, phase in (('train', self.train), ('test', self.test)):
            if phase:
                rehearse(self.trainer.model, phase.dataset, config.seed, f'data.{name}')
        if self.test:
            require_same_classes(self.train.dataset, self.test.dataset)
        self.steps = self.train.loader.num_batches(len(self.train.indices))
        self._reproducible = True

    def own_videos(self) -> dict[str, str]:
        """Returns the digest of a single client's videos, which lists beside the config may decide; else nothing."""
        return {} if self.settings.client is None else {'videos_sha256': list_digest(self.train.dataset.videos)}

    def close(self) -> None:
        """Ends what loads the videos."""
        for phase in (self.train, self.test):
            if phase:
                phase.loader.close()

    @property
    def bad_videos(self) -> dict[str, str]:
        """Path and reason of the unreadable videos met so far."""
        return {**self.train.dataset.bad, **(self.test.dataset.bad if self.test else {})}

    def state(self, epoch: int, metrics: dict[str, Any]) -> CentralState:
        """Returns a copy of everything the epoch after `epoch` needs; `metrics` are those of `epoch`."""
        return CentralState(round=epoch, metrics=metrics, **snapshot(self.trainer),
                            reproducible=self._reproducible and not self.train.dataset.lost)

    def load(self, state: CentralState) -> None:
        """Puts the run where `state` was taken."""
        load_snapshot(self.trainer, state.tensors, state.optimizer, state.loss_scale)
        self._reproducible = state.reproducible

    def run_epoch(self, epoch: int, hook: Hook) -> CentralState:
        """Trains epoch `epoch`, measures the pretext task every `evaluate_every` epochs and after the last one.

        Raises:
            ConfigError: If the loss is not finite.
            BadVideosError: If too many videos are unreadable.
        """
        begun, read_before = time.perf_counter(), self.train.dataset.read_by.copy()
        metrics: dict[str, Any] = self._fit(epoch, hook)
        metrics['read_by'] = dict(self.train.dataset.read_by - read_before)
        if self.test and (epoch % self.settings.evaluate_every == 0 or epoch == self.settings.epochs):
            metrics |= self._evaluate(self.test)
        return self.state(epoch, {**metrics, 'seconds': time.perf_counter() - begun})

    def _fit(self, epoch: int, hook: Hook) -> dict[str, float]:
        seed, epochs = self.config.seed, self.settings.epochs
        rng.seed_torch(seed, 'dropout', 'pretrain', epoch)
        self.trainer.begin_epoch(self.steps)
        batches = self.train.loader.shuffled(self.train.indices, seed, 'pretrain', epoch)
        metrics = self.trainer.fit(batches, Span((epoch - 1) / epochs, epoch / epochs, self.steps), hook, epoch)
        self.train.dataset.check_bad(self.config.data.max_bad_videos)
        require_finite_loss(epoch, metrics['loss'])
        return metrics

    def _evaluate(self, test: _Phase) -> dict[str, float]:
        """Measures on the held-out videos, of which every evaluation sees the same clips."""
        predictions, targets = self.trainer.predict(test.loader.in_order(test.indices, self.config.seed, 'test'))
        test.dataset.check_bad(self.config.data.max_bad_videos)
        if not len(targets):
            raise DataListError('data.test: none of the held-out videos is readable')
        return {f'test_{key}': value for key, value in self.trainer.model.score(predictions, targets).items()}
