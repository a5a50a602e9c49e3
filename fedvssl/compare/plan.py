"""From a comparison to its jobs, in the order in which they are to be done.

Seed by seed, so that the first already makes a whole small table; a pretraining comes right before its evaluations.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fedvssl.compare.budget import Budget, federated_budget
from fedvssl.compare.comparison import ArmConfig, Comparison, Evaluation
from fedvssl.compare.jobs import Job, digest
from fedvssl.config import RunConfig, check_types, config_hash, load_config
from fedvssl.data.dataset import list_digests, read_videos
from fedvssl.data.partition import digest as partition_digest
from fedvssl.data.partitioners import build_partitions
from fedvssl.errors import DataListError, FedVSSLError
from fedvssl.evaluation import knn, retrieval
from fedvssl.evaluation.finetune import MEASURED
from fedvssl.sections import EvaluationConfig, require

Options = Mapping[str, Any]

PRETRAINING = 'pretraining'


@dataclass(frozen=True)
class Plan:
    """The jobs of a comparison, in their order, and the budgets of its arms."""

    jobs: list[Job] = field(default_factory=list)
    budgets: dict[str, Budget] = field(default_factory=dict)


def plan(comparison: Comparison, work_dir: Path, options: Options | None = None) -> Plan:
    """Plans a comparison.

    Args:
        comparison: What is to be compared.
        work_dir: Below which all jobs work.
        options: Options of all configs, which go before all others.

    Raises:
        FedVSSLError: If a config or a list is wrong, before anything runs; the message names the arm or evaluation.
    """
    made = Plan()
    for seed in comparison.seeds:
        for setting in comparison.settings:
            place = _Place(comparison, setting, seed, work_dir, dict(options or {}))
            for arm in comparison.arms:
                made.jobs.extend(place.jobs_of(arm, made.budgets))
    return made


@dataclass(frozen=True)
class _Place:
    """One setting and seed of a comparison."""

    comparison: Comparison
    setting: str
    seed: int
    work_dir: Path
    options: Options

    def jobs_of(self, arm: ArmConfig, budgets: dict[str, Budget]) -> Iterator[Job]:
        """Yields an arm's jobs, and notes its budget."""
        if arm.config is None:
            yield from self._evaluations(arm, None)
            return
        try:
            pretrainings, budgets[arm.name] = self._pretrainings(arm)
        except FedVSSLError as error:
            raise type(error)(f'arm {arm.name!r} ({self.comparison.file(arm.config)}): {error}') from error
        for job in pretrainings:
            yield job
            yield from self._evaluations(arm, job)

    def _pretrainings(self, arm: ArmConfig) -> tuple[list[Job], Budget]:
        file = self.comparison.file(str(arm.config))
        options = self._options(arm.options)
        config = load_config(file, options)
        check_types(config)
        fair, clients = federated_budget(arm.name, config)
        if arm.kind == 'federated':
            return [self._federated(arm, file, options, config.federated())], fair
        options = {'training.epochs': max(int(fair.epochs + 0.5), 1), **options}
        epochs = load_config(file, options).section('training').epochs
        alone: list[int | None] = list(range(clients)) if arm.kind == 'alone' else [None]
        how = 'each client on its own videos' if arm.kind == 'alone' else 'in one place'
        return [self._central(arm, file, options, client) for client in alone], Budget(arm.name, fair.fair, epochs, how)

    def _federated(self, arm: ArmConfig, file: Path, options: Options, config: RunConfig) -> Job:
        settings = config.section('federation')
        return self._pretraining(arm, 'fed_train.py', file, options, config, settings.rounds)

    def _central(self, arm: ArmConfig, file: Path, options: Options, client: int | None) -> Job:
        if client is not None:
            options = {**options, 'training.client': client}
        config = load_config(file, options).centralised()
        check_types(config)
        job = self._pretraining(arm, 'train.py', file, options, config, config.section('training').epochs)
        return job if client is None else replace(job, client=client)

    def _pretraining(self, arm: ArmConfig, tool: str, file: Path, options: Options, config: RunConfig,
                     rounds: int) -> Job:
        expected = dict(config_hash=config_hash(config), round=rounds)
        name = f'{PRETRAINING}-{digest(tool, expected, _lists(config), *_partition(config))}'
        return Job(self.setting, arm.name, self.seed, PRETRAINING, tool, [str(file), *_arguments(options)],
                   self._directory(arm) / name, expected)

    def _evaluations(self, arm: ArmConfig, pretraining: Job | None) -> Iterator[Job]:
        for evaluation in self.comparison.evaluations_of(arm):
            try:
                yield self._evaluation(arm, evaluation, pretraining)
            except FedVSSLError as error:
                where = self.comparison.file(evaluation.config)
                raise type(error)(f'evaluation {evaluation.title!r} ({where}): {error}') from error

    def _evaluation(self, arm: ArmConfig, evaluation: Evaluation, pretraining: Job | None) -> Job:
        file = self.comparison.file(evaluation.config)
        # Options of the federation, which are for all pretrainings, mean nothing here.
        options = {key: value for key, value in self._options(evaluation.options).items()
                   if key in evaluation.options or key.partition('.')[0] not in ('federation', 'strategy')}
        config = load_config(file, options)
        check_types(config)
        require(config.training is not None or evaluation.task != 'finetune', 'training', 'is required and missing')
        for name in evaluation.shown:
            require(name in (known := measured(evaluation.task, config)), 'measures',
                    f'{name!r} is not measured; name one or several of {", ".join(known)}')
        views = [config] if config.training is None else [config, config.centralised()]
        hashes, lists = frozenset(map(config_hash, views)), _lists(config)
        special = asdict(config.evaluation) if config.evaluation else None
        source = pretraining.work_dir.name if pretraining else arm.kind
        name = digest(evaluation.task, sorted(hashes), lists, special, source)
        tool, arguments = _command(evaluation.task, file, pretraining, self._directory(arm) / 'features')
        return Job(self.setting, arm.name, self.seed, evaluation.title, tool, [*arguments, *_arguments(options)],
                   self._directory(arm) / f'{_slug(evaluation.title)}-{name}',
                   dict(config_hash=hashes, lists=lists, seed=self.seed, task=evaluation.task),
                   resumable=evaluation.task == 'finetune' or config.model['type'] == 'LinearProbe', needs=pretraining,
                   client=pretraining.client if pretraining else None)

    def _options(self, options: Options) -> dict[str, Any]:
        return {**self.comparison.options, **self.comparison.settings[self.setting], **options, **self.options,
                'seed': self.seed}

    def _directory(self, arm: ArmConfig) -> Path:
        parts = [part for part in (_slug(self.setting), _slug(arm.name)) if part]
        return self.work_dir.joinpath(*parts, f'seed-{self.seed}')


def measured(task: str, config: RunConfig) -> list[str]:
    """Returns the names of the figures that a task measures under a config."""
    settings = config.evaluation or EvaluationConfig()
    if task == 'knn':
        return [f'knn{k}_{top}' for k, _ in settings.knn or knn.PUBLISHED for top in ('top1', 'top5')]
    if task == 'retrieval':
        return [f'recall{k}' for k in settings.recall_at or retrieval.PUBLISHED]
    return list(MEASURED)


def _lists(config: RunConfig) -> dict[str, str]:
    """Returns the digests of a config's lists.

    Raises:
        DataListError: If one cannot be read.
    """
    try:
        return list_digests(config.data)
    except OSError as error:
        raise DataListError(f'{error.filename}: {error.strerror}; check data.root and data.annotations') from error


def _partition(config: RunConfig) -> list[str]:
    """Returns the digest of who has which videos, where that matters; lists of clients may change beside the config."""
    if config.federation is None and (config.training is None or config.training.client is None):
        return []
    return [partition_digest(build_partitions(config.data, read_videos(config.data, config.data.train.split),
                                              config.seed))]


def _command(task: str, file: Path, pretraining: Job | None, features: Path) -> tuple[str, list[str]]:
    """Returns an evaluation's tool and its first arguments."""
    if task == 'finetune':
        return 'finetune.py', [str(file), '--pretrained', str(pretraining.work_dir) if pretraining else 'none']
    checkpoint = str(pretraining.work_dir) if pretraining else 'random'
    return 'evaluate.py', [task, str(file), '--checkpoint', checkpoint, '--features', str(features)]


def _arguments(options: Options) -> list[str]:
    """Returns options as a tool takes them: every value as a Python literal."""
    return ['--cfg-options', *(f'{key}={value!r}' for key, value in options.items())]


def _slug(name: str) -> str:
    """Returns a name as a directory can be called."""
    words = ''.join(character if character.isalnum() or character in '.-' else ' ' for character in name).split()
    return '-'.join(words).strip('.').lower()
