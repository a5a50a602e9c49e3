"""The sections of a config, as dataclasses that check their own values."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedvssl.errors import ConfigError, suggest

# Fields that may differ between a run and its continuation: they cannot change a result.
UNHASHED = {'hashed': False}
# Fields that came later: a config that leaves them at their default keeps the hash it had before.
HASHED_IF_SET = {'hashed': 'if set'}

DEPLOYMENT = 'deployment'  # the engine whose processes Flower's SuperLink and SuperNodes start
ENGINES = ('local', 'ray', DEPLOYMENT)
WIRE_DTYPES = (None, 'bf16', 'fp16')
LONGEST_WAIT = 30 * 24 * 3600  # seconds; what waits takes no infinity
CLIENT_RESOURCES = ('num_cpus', 'num_gpus')


def require(condition: bool, key: str, message: str) -> None:
    """Raises a `ConfigError` that names the key unless the condition holds."""
    if not condition:
        raise ConfigError(f'{key}: {message}')


@dataclass(frozen=True)
class PhaseConfig:
    """How one split is read: which rows; of videos, which clips and which transforms, too."""

    split: str | None
    sampler: dict = field(default_factory=dict)
    transforms: list = field(default_factory=list)
    independent_clips: bool = False  # whether each clip of a sample is transformed by draws of its own


@dataclass(frozen=True)
class DecodeConfig:
    """How frames get out of the files."""

    backend: str = 'auto'
    device: str = 'cpu'  # 'cuda': decoded, cropped and resized there, where the codec allows
    timeout: float = field(default=60.0, metadata=UNHASHED)  # seconds for one sample; then its process is killed
    index: str | None = field(default='.frame-index.sqlite', metadata=UNHASHED)  # kept there, relative to root

    def __post_init__(self) -> None:
        require(self.timeout > 0, 'data.decode.timeout', f'must be positive, not {self.timeout}')
        require(self.device.partition(':')[0] in ('cpu', 'cuda'), 'data.decode.device',
                 f"must be 'cpu', 'cuda' or 'cuda:N', not {self.device!r}")


@dataclass(frozen=True)
class DataConfig:
    """Where the videos, or the images, are and how they become batches."""

    root: str
    train: PhaseConfig
    test: PhaseConfig | None = None
    images: dict | None = field(default=None, metadata=HASHED_IF_SET)  # a set of images, e.g. dict(type='CIFAR')
    annotations: str = 'annotations.csv'  # relative to root
    split_column: str = 'split'
    label_base: int = 0
    extension: str = ''
    quarantine: str | None = field(default=None, metadata=UNHASHED)  # list of videos to leave out, relative to root
    partition: dict | None = None
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    batch_size: int = 4
    test_batch_size: int = 8
    workers: int = field(default=1, metadata=UNHASHED)  # processes that load; 0: none, and no timeout
    max_bad_videos: float = 0.01  # share

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, 'data.batch_size', f'must be at least 1, not {self.batch_size}')
        require(self.test_batch_size >= 1, 'data.test_batch_size', f'must be at least 1, not {self.test_batch_size}')
        require(self.workers >= 0, 'data.workers', f'must be 0 or more, not {self.workers}')
        require(0 <= self.max_bad_videos <= 1, 'data.max_bad_videos',
                 f'is a share between 0 and 1, not {self.max_bad_videos}')
        for name in ('train', 'test'):
            phase = getattr(self, name)
            if phase is not None and self.images is None:
                require(bool(phase.sampler), f'data.{name}.sampler', 'is required and missing')
            elif phase is not None:
                require(not (phase.sampler or phase.transforms), f'data.{name}',
                        'images have neither sampler nor transforms; model.data_preprocessor.views augments them')


@dataclass(frozen=True)
class DatasetConfig:
    """Which set of videos it is: a section ``dataset`` fills in what the section ``data`` does not say itself.

    So a leaf config can take the set from one piece, and clips and transforms from another. It is gone once the config
    is loaded.
    """

    root: str
    annotations: str = 'annotations.csv'
    split_column: str = 'split'
    label_base: int = 0
    extension: str = ''
    train: str | None = 'train'  # data.train.split
    test: str | None = 'test'  # data.test.split
    partition: dict | None = None  # unless data.partition is of another type

    def __post_init__(self) -> None:
        require(self.partition is None or isinstance(self.partition.get('type'), str), 'dataset.partition',
                 f'must have a type, such as IIDPartitioner, not be {self.partition!r}')

    def beneath(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the section ``data`` on top of this one."""
        filled = {spec.name: getattr(self, spec.name) for spec in dataclasses.fields(self)} | dict(data)
        for phase in ('train', 'test'):
            filled.pop(phase)
            if isinstance(data.get(phase), Mapping):
                filled[phase] = dict(split=getattr(self, phase)) | dict(data[phase])
            elif phase in data:
                filled[phase] = data[phase]
        mine, theirs = self.partition, data.get('partition')
        if mine and isinstance(theirs, Mapping) and theirs.get('type', mine['type']) == mine['type']:
            filled['partition'] = mine | dict(theirs)
        return filled


@dataclass(frozen=True)
class LocalDPConfig:
    """Noise that every client puts on its update, because it does not trust the server (`federated.privacy_mods`)."""

    clipping_norm: float  # the update is shortened to this norm first
    epsilon: float  # of one update; a client that trains more often loses more
    delta: float = 1e-5
    seeded_noise: bool = False  # from the run's seed, so that it repeats, and hides nothing from whoever knows the seed

    def __post_init__(self) -> None:
        for name in ('clipping_norm', 'epsilon'):
            value = getattr(self, name)
            require(0 < value < math.inf, f'federation.local_dp.{name}', f'must be positive, not {value}')
        require(0 < self.delta < 1, 'federation.local_dp.delta', f'must be above 0 and below 1, not {self.delta}')


@dataclass(frozen=True)
class FederationConfig:
    """Who trains, how often, and how the results are combined."""

    rounds: int
    clients_per_round: int
    strategy: dict
    local_epochs: int = 1
    evaluate_every: int = 0  # rounds; 0: never
    min_success: float = 0.5  # share of a round's clients that must deliver
    max_attempts: int = 3
    wire_dtype: str | None = None  # 'bf16' or 'fp16': how single-precision tensors travel; None: as they are
    local_dp: LocalDPConfig | None = None  # None: updates leave the client as they are
    engine: str = field(default='local', metadata=UNHASHED)
    workers: int = field(default=1, metadata=UNHASHED)
    client_resources: dict | None = field(default=None, metadata=UNHASHED)  # ray: e.g. dict(num_cpus=4, num_gpus=0.5)
    client_timeout: float = field(default=3600.0, metadata=UNHASHED)  # seconds
    join_timeout: float = field(default=300.0, metadata=UNHASHED)  # seconds to wait for all clients before round 1
    superlink: str | None = field(default=None, metadata=UNHASHED)  # deployment: connection of Flower's config.toml

    def __post_init__(self) -> None:
        for name in ('rounds', 'clients_per_round', 'local_epochs', 'max_attempts'):
            require(getattr(self, name) >= 1, f'federation.{name}', f'must be at least 1, not {getattr(self, name)}')
        for name in ('evaluate_every', 'workers'):
            require(getattr(self, name) >= 0, f'federation.{name}', f'must be 0 or more, not {getattr(self, name)}')
        require(0 < self.min_success <= 1, 'federation.min_success',
                 f'is a share above 0 and up to 1, not {self.min_success}')
        for name in ('client_timeout', 'join_timeout'):
            require(0 < getattr(self, name) <= LONGEST_WAIT, f'federation.{name}',
                    f'must be positive, and at most {LONGEST_WAIT} (30 days), not {getattr(self, name)}')
        for name, known in (('engine', ENGINES), ('wire_dtype', WIRE_DTYPES)):
            value = getattr(self, name)
            require(value in known, f'federation.{name}',
                    f'{value!r} is not available{suggest(str(value), map(str, known))}')
        require(self.engine != 'ray' or self.workers > 0, 'federation.workers', "must be at least 1 with engine 'ray'")
        for name, amount in (self.client_resources or {}).items():
            key = f'federation.client_resources.{name}'
            require(name in CLIENT_RESOURCES, key, f'no such resource{suggest(name, CLIENT_RESOURCES)}')
            enough = isinstance(amount, int | float) and (amount > 0 or name == 'num_gpus' and amount == 0)
            require(enough and amount < math.inf, key,
                    f'must be a number of {name[4:]}, or a share of one, not {amount!r}')


@dataclass(frozen=True)
class TrainingConfig:
    """Training in one place (fine-tuning, centralised pretraining), and what it does differently from a federation.

    `optim_wrapper`, `schedule` and `batch_size` take the place of the config's own as a whole; nothing is merged.
    """

    epochs: int
    evaluate_every: int = 10  # epochs; the last epoch is always evaluated
    # Not hashed here: `RunConfig.centralised` puts them where they count.
    optim_wrapper: dict | None = field(default=None, metadata=UNHASHED)
    schedule: dict | None = field(default=None, metadata=UNHASHED)
    batch_size: int | None = field(default=None, metadata=UNHASHED)
    client: int | None = field(default=None, metadata=HASHED_IF_SET)  # train.py: only what data.partition gives it
    label_fraction: float = field(default=1.0, metadata=HASHED_IF_SET)  # of each class's training videos

    def __post_init__(self) -> None:
        require(self.epochs >= 1, 'training.epochs', f'must be at least 1, not {self.epochs}')
        require(self.batch_size is None or self.batch_size >= 1, 'training.batch_size',
                 f'must be at least 1, not {self.batch_size}')
        require(self.evaluate_every >= 1, 'training.evaluate_every', f'must be at least 1, not {self.evaluate_every}')
        require(self.client is None or self.client >= 0, 'training.client',
                f'is the number of a client, from 0, or None for all videos, not {self.client}')
        require(0 < self.label_fraction <= 1, 'training.label_fraction',
                f'is a share above 0 and up to 1 (0.1 for 10 %), not {self.label_fraction}')


@dataclass(frozen=True)
class CachedLinearConfig:
    """The linear probe on features that are extracted once; the defaults are the protocol ``cached``."""

    epochs: int = 100
    batch_size: int = 256
    learning_rates: list = field(default_factory=lambda: [0.1, 1.0, 10.0, 30.0])  # at batch 256; a single one is taken
    momentum: float = 0.9
    weight_decay: float = 0.0
    held_out: float = 0.1  # share of each class's training videos that chooses the learning rate

    def __post_init__(self) -> None:
        for name in ('epochs', 'batch_size'):
            require(getattr(self, name) >= 1, f'evaluation.linear.{name}',
                    f'must be at least 1, not {getattr(self, name)}')
        rates = self.learning_rates
        require(len(rates) > 0 and all(map(_is_positive, rates)), 'evaluation.linear.learning_rates',
                f'must be positive numbers, at least one, not {rates!r}')
        require(len(set(rates)) == len(rates), 'evaluation.linear.learning_rates', f'has one twice: {rates!r}')
        require(0 <= self.momentum < 1, 'evaluation.linear.momentum', f'is in [0, 1), not {self.momentum}')
        require(0 <= self.weight_decay < math.inf, 'evaluation.linear.weight_decay',
                f'must be 0 or more, not {self.weight_decay}')
        require(0 < self.held_out < 1, 'evaluation.linear.held_out',
                f'is a share above 0 and below 1, not {self.held_out}')


@dataclass(frozen=True)
class EvaluationConfig:
    """What ``tools/evaluate.py`` does differently from the published protocols; results state theirs in full.

    None is as published: kNN with (200, 0.1) and (20, 0.07), retrieval at 1, 5, 10, 20, 50. Where the gallery is
    smaller than a published k, all of it is taken, and said; a k that is asked for here must fit.
    """

    knn: list | None = None  # pairs (k, temperature)
    recall_at: list | None = None  # retrieval: the k of R@k
    retrieval_pool: list = field(default_factory=lambda: [2, 3, 3])  # frames, height, width of the pooled feature maps
    linear: CachedLinearConfig = field(default_factory=CachedLinearConfig)

    def __post_init__(self) -> None:
        for name in ('knn', 'recall_at'):
            value = getattr(self, name)
            require(value is None or len(value) > 0, f'evaluation.{name}',
                    'must not be empty; leave it out for the published one')
        for pair in self.knn or []:
            valid = isinstance(pair, list | tuple) and len(pair) == 2 and _is_count(pair[0]) and _is_positive(pair[1])
            require(valid, 'evaluation.knn', f'must be pairs of a k of at least 1 and a positive temperature, such as '
                                             f'[(20, 0.07)]; {pair!r} is not')
        for k in self.recall_at or []:
            require(_is_count(k), 'evaluation.recall_at',
                    f'must be integers of at least 1, such as [1, 5]; {k!r} is not')
        for name, counts in (('knn', [k for k, _ in self.knn or []]), ('recall_at', self.recall_at or [])):
            twice = sorted({k for k in counts if counts.count(k) > 1})
            require(not twice, f'evaluation.{name}', f'k = {twice} is there twice; results are named by their k')
        require(len(self.retrieval_pool) == 3 and all(map(_is_count, self.retrieval_pool)), 'evaluation.retrieval_pool',
                f'must be three integers of at least 1 (frames, height, width), not {self.retrieval_pool!r}')


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


@dataclass(frozen=True)
class RuntimeConfig:
    """Where and with what the run computes."""

    device: str = 'cpu'
    threads: int = 1  # of torch, per process; changes the bits, and is therefore never "all cores"
    keep_last: int = field(default=3, metadata=UNHASHED)

    def __post_init__(self) -> None:
        require(self.threads >= 1, 'runtime.threads', f'must be at least 1, not {self.threads}')
        require(self.keep_last >= 1, 'runtime.keep_last', f'must be at least 1, not {self.keep_last}')


@dataclass(frozen=True)
class RunConfig:
    """One run. `federation` is for `fed_train.py`, `training` for `train.py` and `finetune.py`.

    A config with both can be run either way; each tool works on, and hashes, its own view of it (`federated`,
    `centralised`), so that the section it does not use changes nothing.
    """

    model: dict
    data: DataConfig
    optim_wrapper: dict
    schedule: dict
    seed: int = 7
    federation: FederationConfig | None = None
    training: TrainingConfig | None = None
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    monitors: list = field(default_factory=list, metadata=UNHASHED)  # what to measure meanwhile
    evaluation: EvaluationConfig | None = field(default=None, metadata=UNHASHED)

    def section(self, name: str) -> Any:
        """Returns an optional section that the calling tool needs.

        Raises:
            ConfigError: If the config does not have it.
        """
        value = getattr(self, name)
        require(value is not None, name,
                 f'this tool needs the section and the config does not have it; add {_EXAMPLES[name]}')
        return value

    def federated(self) -> 'RunConfig':
        """Returns what a federated run sees: no `training`.

        Raises:
            ConfigError: If there is no section `federation`.
        """
        self.section('federation')
        return dataclasses.replace(self, training=None)

    def centralised(self) -> 'RunConfig':
        """Returns what training in one place sees: its own optimiser, schedule and batch size; no clients.

        Where it is one client's place (``training.client``), it keeps the partition that says which videos these are.

        Raises:
            ConfigError: If there is no section `training`.
        """
        training: TrainingConfig = self.section('training')
        return dataclasses.replace(
            self,
            data=dataclasses.replace(self.data, partition=None if training.client is None else self.data.partition,
                                     batch_size=training.batch_size or self.data.batch_size),
            optim_wrapper=self.optim_wrapper if training.optim_wrapper is None else training.optim_wrapper,
            schedule=self.schedule if training.schedule is None else training.schedule,
            federation=None,
            training=dataclasses.replace(training, optim_wrapper=None, schedule=None, batch_size=None),
        )


_EXAMPLES = {'federation': "e.g. federation = dict(rounds=20, clients_per_round=5, strategy=dict(type='FedVSSL'))",
             'training': 'e.g. training = dict(epochs=90), with optim_wrapper, schedule or batch_size where they '
                         "differ from the config's own"}
