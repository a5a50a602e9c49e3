"""Fine-tuning: train the whole network on labels, from a pretrained backbone or from scratch, and test it.

The test follows CtP and FedVSSL: clips at mid-ticks of each video, logits averaged over the clips; top-1, top-5 and
mean class accuracy. Best and last are both reported; the last is the result.
"""

import math
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from fedvssl import rng
from fedvssl.commit import write_json
from fedvssl.config import RunConfig, TrainingConfig, config_hash, identity
from fedvssl.data.annotations import Video
from fedvssl.data.dataset import build_dataset, list_digests, read_videos
from fedvssl.data.loader import ClipLoader
from fedvssl.environment import describe_environment
from fedvssl.errors import ConfigError, DataListError
from fedvssl.evaluation.metrics import accuracy_report
from fedvssl.registry import MODELS
from fedvssl.training.hooks import Hook
from fedvssl.training.trainer import Span, Trainer, build_trainer
from fedvssl.weights import LoadReport, load_backbone, read_weights

RESULT_FILE = 'result.json'


class FineTuning:
    """One fine-tuning run.

    Args:
        config: Its config, with a section ``training``.
        hook: Side jobs.

    Raises:
        ConfigError: If a section is missing.
        DataListError: If a list is wrong or has labels the head has no output for.
    """

    def __init__(self, config: RunConfig, hook: Hook) -> None:
        config = config.centralised()
        self.config, self.hook, data = config, hook, config.data
        if data.test is None:
            raise ConfigError('data.test: fine-tuning needs it and the config does not have it')
        self.settings: TrainingConfig = config.section('training')
        _require_recognizer(config)
        train, test = read_videos(data, data.train.split), read_videos(data, data.test.split)
        _require_labels(config, train + test)
        self.train = build_dataset(data, data.train, train, replace_bad=True)
        self.test = build_dataset(data, data.test, test, replace_bad=False)
        self.train_loader = ClipLoader(self.train, data.batch_size, data.workers)
        self.test_loader = ClipLoader(self.test, data.test_batch_size, data.workers)
        self.trainer: Trainer = build_trainer(config)

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

    def run(self) -> dict[str, Any]:
        """Trains and tests; returns the test reports by epoch and timings.

        Raises:
            BadVideosError: If too many videos are unreadable.
        """
        epochs, seed = self.settings.epochs, self.config.seed
        rng.seed_torch(seed, 'dropout', 'finetune')
        indices = np.arange(len(self.train))
        steps = self.train_loader.num_batches(len(indices))
        reports: dict[int, dict[str, Any]] = {}
        begun = time.perf_counter()
        for epoch in range(1, epochs + 1):
            self.hook.before_round(epoch, steps)
            self.trainer.begin_epoch(steps)
            batches = self.train_loader.shuffled(indices, seed, 'finetune', epoch)
            metrics: dict[str, Any] = self.trainer.fit(batches, Span((epoch - 1) / epochs, epoch / epochs, steps),
                                                       self.hook, epoch)
            self.train.check_bad(self.config.data.max_bad_videos)
            if not math.isfinite(metrics['loss']):
                raise ConfigError(f'training diverged: the loss of epoch {epoch} is {metrics["loss"]}; lower '
                                  f'optim_wrapper.optimizer.lr')
            if epoch % self.settings.evaluate_every == 0 or epoch == epochs:
                reports[epoch] = self._evaluate()
                metrics = {**metrics, 'test_accuracy': reports[epoch]['top1']}
            self.hook.after_round(epoch, metrics)
        return dict(reports=reports, seconds=time.perf_counter() - begun)

    def _evaluate(self) -> dict[str, Any]:
        indices = np.arange(len(self.test))
        scores, target = self.trainer.predict(self.test_loader.in_order(indices, self.config.seed, 'test'))
        self.test.check_bad(self.config.data.max_bad_videos)
        return accuracy_report(scores, target)


def finetune(config: RunConfig, work_dir: Path, pretrained: str | None, hook: Hook) -> dict[str, Any]:
    """Fine-tunes, tests, and writes ``result.json``.

    Args:
        config: The run.
        work_dir: Where the result goes; must not hold one.
        pretrained: Checkpoint of a backbone; None trains from scratch.
        hook: Side jobs; its `before_run` gets the load report.

    Returns:
        What ``result.json`` holds.
    """
    if (work_dir / RESULT_FILE).exists():
        raise ConfigError(f'{work_dir}: already holds a {RESULT_FILE}; choose another --work-dir')
    with closing(FineTuning(config, hook)) as job:
        return _finetune(job, work_dir, pretrained)


def _finetune(job: FineTuning, work_dir: Path, pretrained: str | None) -> dict[str, Any]:
    config, hook = job.config, job.hook
    report = job.load(pretrained) if pretrained else None
    hook.before_run(dict(rounds=job.settings.epochs, first_round=1, pretrained=pretrained or 'none',
                         weights=str(report) if report else 'random', config=config_hash(config)[:12]))
    try:
        outcome = job.run()
    except BaseException as error:
        hook.after_run(dict(error=f'{type(error).__name__}: {error}'))
        raise
    reports = outcome['reports']
    best = max(reports, key=lambda epoch: reports[epoch]['top1'])
    result = dict(
        task='finetune', pretrained=pretrained, seed=config.seed, train_videos=len(job.train),
        last=reports[job.settings.epochs], best={**reports[best], 'epoch': best},
        bad_videos={**job.train.bad, **job.test.bad}, reproducible=not (job.train.lost or job.test.lost),
        read_by=dict(job.train.read_by + job.test.read_by), seconds=outcome['seconds'],
        config_hash=config_hash(config), config=identity(config), lists=list_digests(config.data),
        environment=describe_environment())
    write_json(work_dir / RESULT_FILE, result)
    hook.after_run(dict(top1=result['last']['top1'], top5=result['last']['top5'],
                        mean_class=result['last']['mean_class'], n=result['last']['n'],
                        result=str(work_dir / RESULT_FILE)))
    return result


def _require_recognizer(config: RunConfig) -> None:
    """Checks that the model is one that learns labels: pretext tasks have a section ``training`` as well."""
    name = config.model['type']
    if not getattr(MODELS.get(name), 'learns_labels', False):
        raise ConfigError(f'model.type: {name} is a pretext task, which fine-tuning does not train; take a config of a '
                          f'Recognizer, such as those in configs/downstream')


def _require_labels(config: RunConfig, videos: list[Video]) -> None:
    """Checks that every video has a label that the head has an output for."""
    file, base = Path(config.data.root) / config.data.annotations, config.data.label_base
    classes = config.model.get('head', {}).get('num_classes')
    if not isinstance(classes, int):
        raise ConfigError('model.head.num_classes: is required and missing; it says how many classes the labels have')
    for video in videos:
        if not 0 <= video.label < classes:
            raise DataListError(f'{file}:{video.line}: label {video.label + base} is out of range; '
                                f'model.head.num_classes = {classes} takes {base} to {base + classes - 1} '
                                f'with data.label_base = {base}')
