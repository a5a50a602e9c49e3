"""The linear probe: how well classes are told apart by one linear layer on a backbone that stays as it is.

Two protocols, by name:

- ``fedvssl``, of FedVSSL's experiments: clips augmented anew every epoch, features of length 1, batch norm, one layer;
  trained as fine-tuning is (`finetune`), with a `LinearProbe` as the model.
- ``cached``, the usual one of image methods: each video's features are extracted once, as for kNN (all test clips,
  averaged), and one layer is trained on them, with the learning rate that a held-out tenth of the training videos
  prefers (`linear_classifier`). Where several videos show one scene, as the groups of UCF-101 do, the held-out figures
  flatter; only the choice of the rate depends on them.

Their figures are not comparable with each other.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedvssl.config import RunConfig, identity
from fedvssl.errors import ConfigError, suggest
from fedvssl.evaluation.feature_store import Features
from fedvssl.evaluation.features import RANDOM, Extractor
from fedvssl.evaluation.finetune import MEASURED, finetune
from fedvssl.evaluation.labelled import test_phase
from fedvssl.evaluation.labels import train_and_test_videos
from fedvssl.evaluation.linear_classifier import REFERENCE_BATCH, choose_rate, train_linear
from fedvssl.evaluation.metrics import accuracy_report, top_k_accuracy
from fedvssl.evaluation.result import require_free, write_result
from fedvssl.models import LinearProbe
from fedvssl.registry import MODELS
from fedvssl.sections import CachedLinearConfig, EvaluationConfig
from fedvssl.training.hooks import Hook

PROTOCOLS = ('fedvssl', 'cached')


def linear_probe(config: RunConfig, work_dir: Path, checkpoint: str, protocol: str, hook: Hook,
                 features: Path | None = None, resume: bool = False) -> dict[str, Any]:
    """Probes a backbone and writes ``result.json``.

    Args:
        config: A run whose model learns labels; for ``fedvssl`` that is a `LinearProbe`, for ``cached`` only the
            backbone of the model counts.
        work_dir: Where the result goes; must not hold one unless it is to be resumed.
        checkpoint: Where the backbone comes from; ``'random'``: initial weights by the run's seed.
        protocol: ``'fedvssl'`` or ``'cached'``.
        hook: Side jobs of ``fedvssl``; ``cached`` has no rounds that it could be told of.
        features: Where ``cached`` keeps extracted features; None keeps none.
        resume: Whether ``fedvssl`` is to continue the run in the work directory.

    Returns:
        What ``result.json`` holds.

    Raises:
        ConfigError: If there is no such protocol, the config is not for it, or training diverged.
        DataListError: If a list is wrong or has labels the config has no class for.
        CheckpointError: If the checkpoint holds no such backbone, or is damaged.
        BadVideosError: If too many videos are unreadable.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f'--protocol: the linear probe has no {protocol!r}{suggest(protocol, PROTOCOLS)}')
    if protocol == 'fedvssl':
        _require_probe(config)
        return finetune(config, work_dir, None if checkpoint == RANDOM else checkpoint, hook, resume)
    if resume:
        raise ConfigError('--resume: protocol cached has nothing to continue; run it again, its features are kept')
    require_free(work_dir)
    phase = test_phase(config)
    videos, _ = train_and_test_videos(config)  # before hours of extraction: are these lists what the head is for?
    extractor = Extractor(config, checkpoint, features)
    train = extractor(config.data.train.split).among([video.path for video in videos])
    return _probe(extractor, train, extractor(phase.split), work_dir)


def _require_probe(config: RunConfig) -> None:
    """Checks that the model is the one of protocol ``fedvssl``: `finetune` would train the backbone of another."""
    name = config.model['type']
    model = MODELS.get(name)
    if not (isinstance(model, type) and issubclass(model, LinearProbe)):
        raise ConfigError(f'model.type: --protocol fedvssl needs a LinearProbe, not {name}; take a config such as '
                          f'configs/downstream/linear_r3d18_ucf101.py, or --protocol cached')
    if config.centralised().data.batch_size < 2:
        raise ConfigError('data.batch_size: must be at least 2: the batch norm of the linear probe needs several clips')


def _probe(extractor: Extractor, train: Features, test: Features, work_dir: Path) -> dict[str, Any]:
    """Chooses the rate, trains, tests and writes the result."""
    config, begun = extractor.config, time.perf_counter()
    settings, classes = _settings(config), config.model['head']['num_classes']
    rate, trials = choose_rate(train.vectors, train.labels, classes, settings, config.seed)
    classifier = train_linear(train.vectors, train.labels, classes, rate, settings, config.seed, 'all')
    if not classifier.finite:
        raise ConfigError(f'evaluation.linear.learning_rates: training diverged with {rate:g}; add smaller ones')
    report: dict[str, Any] = accuracy_report(classifier(test.vectors), test.labels)
    return write_result(
        work_dir, config, 'linear', cached_protocol(config, train.pool),
        measured={name: report[name] for name in MEASURED}, n=len(test), shares=('top1', 'top5'),
        learning_rate=rate, learning_rates=[asdict(trial) for trial in trials],
        train_top1=top_k_accuracy(classifier(train.vectors), train.labels, 1), train_videos=len(train),
        last=report, **{name: report[name] for name in ('predicted', 'target', 'correct')},
        pretrained=None if extractor.checkpoint == RANDOM else extractor.checkpoint, weights=extractor.weights,
        pretrained_sha256=extractor.digest,
        features=dict(train=train.describe(), test=test.describe()), bad_videos={**train.bad, **test.bad},
        reproducible=train.reproducible and test.reproducible, extraction_seconds=train.seconds + test.seconds,
        seconds=time.perf_counter() - begun)


def _settings(config: RunConfig) -> CachedLinearConfig:
    return (config.evaluation or EvaluationConfig()).linear


def cached_protocol(config: RunConfig, pool: Sequence[int]) -> dict[str, Any]:
    """Returns every number of protocol ``cached``, as JSON values.

    Args:
        config: The run.
        pool: Frames, height and width that feature maps were averaged to.

    Returns:
        With ``name`` ``'cached'`` where all settings are the defaults, else ``'cached-modified'``.
    """
    settings, data, phase = _settings(config), config.data, test_phase(config)
    fraction = config.training.label_fraction if config.training else 1.0
    standard = settings == CachedLinearConfig() and fraction == 1
    return dict(
        name='cached' if standard else 'cached-modified', **identity(settings), reference_batch=REFERENCE_BATCH,
        optimizer='SGD', schedule='cosine', initial_weights=0, chosen_by='held-out top-1, then cross-entropy',
        trained_on='all training videos, with the chosen rate', reported='last epoch', label_fraction=fraction,
        pool=list(pool), averaged='features',
        clips={key: value for key, value in identity(phase).items() if key != 'split'},
        split=dict(column=data.split_column, train=data.train.split, test=phase.split),
        backbone=identity(config)['model']['backbone'], classes=config.model['head']['num_classes'])
