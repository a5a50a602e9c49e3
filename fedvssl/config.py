"""Config files: load, override, validate strictly, hash.

A config is a Python file of mmengine's kind (``_base_`` plus what differs) and therefore the operator's own code. Its
sections are the dataclasses below; ``dict(type=...)`` values are built from registries. Every key is checked before any
data is touched: `load_config` checks the sections (without importing torch), `check_types` the registered pieces.
"""

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from fedvssl.errors import ConfigError, suggest

# Fields that may differ between a run and its continuation: they cannot change a result.
UNHASHED = {'hashed': False}


def _require(condition: bool, key: str, message: str) -> None:
    if not condition:
        raise ConfigError(f'{key}: {message}')


@dataclass(frozen=True)
class PhaseConfig:
    """How one split is read: which rows, which clips, which transforms."""

    split: str | None
    sampler: dict
    transforms: list
    independent_clips: bool = False  # whether each clip of a sample is transformed by draws of its own


@dataclass(frozen=True)
class DecodeConfig:
    """How frames get out of the files."""

    backend: str = 'auto'
    device: str = 'cpu'  # 'cuda': decoded, cropped and resized there, where the codec allows
    timeout: float = field(default=60.0, metadata=UNHASHED)  # seconds for one sample; then its process is killed
    index: str | None = field(default='.frame-index.sqlite', metadata=UNHASHED)  # kept there, relative to root

    def __post_init__(self) -> None:
        _require(self.timeout > 0, 'data.decode.timeout', f'must be positive, not {self.timeout}')
        _require(self.device.partition(':')[0] in ('cpu', 'cuda'), 'data.decode.device',
                 f"must be 'cpu', 'cuda' or 'cuda:N', not {self.device!r}")


@dataclass(frozen=True)
class DataConfig:
    """Where the videos are and how they become batches."""

    root: str
    train: PhaseConfig
    test: PhaseConfig | None = None
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
        _require(self.batch_size >= 1, 'data.batch_size', f'must be at least 1, not {self.batch_size}')
        _require(self.test_batch_size >= 1, 'data.test_batch_size', f'must be at least 1, not {self.test_batch_size}')
        _require(self.workers >= 0, 'data.workers', f'must be 0 or more, not {self.workers}')
        _require(0 <= self.max_bad_videos <= 1, 'data.max_bad_videos',
                 f'is a share between 0 and 1, not {self.max_bad_videos}')


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
        _require(self.partition is None or isinstance(self.partition.get('type'), str), 'dataset.partition',
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
class FederationConfig:
    """Who trains, how often, and how the results are combined."""

    rounds: int
    clients_per_round: int
    strategy: dict
    local_epochs: int = 1
    evaluate_every: int = 0  # rounds; 0: never
    min_success: float = 0.5  # share of a round's clients that must deliver
    max_attempts: int = 3
    engine: str = field(default='local', metadata=UNHASHED)
    workers: int = field(default=1, metadata=UNHASHED)
    client_timeout: float = field(default=3600.0, metadata=UNHASHED)  # seconds

    def __post_init__(self) -> None:
        for name in ('rounds', 'clients_per_round', 'local_epochs', 'max_attempts'):
            _require(getattr(self, name) >= 1, f'federation.{name}', f'must be at least 1, not {getattr(self, name)}')
        for name in ('evaluate_every', 'workers'):
            _require(getattr(self, name) >= 0, f'federation.{name}', f'must be 0 or more, not {getattr(self, name)}')
        _require(0 < self.min_success <= 1, 'federation.min_success',
                 f'is a share above 0 and up to 1, not {self.min_success}')
        _require(self.client_timeout > 0, 'federation.client_timeout', f'must be positive, not {self.client_timeout}')
        _require(self.engine == 'local', 'federation.engine',
                 f'{self.engine!r} is not available{suggest(self.engine, ["local"])}')


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

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, 'training.epochs', f'must be at least 1, not {self.epochs}')
        _require(self.batch_size is None or self.batch_size >= 1, 'training.batch_size',
                 f'must be at least 1, not {self.batch_size}')
        _require(self.evaluate_every >= 1, 'training.evaluate_every', f'must be at least 1, not {self.evaluate_every}')


@dataclass(frozen=True)
class RuntimeConfig:
    """Where and with what the run computes."""

    device: str = 'cpu'
    threads: int = 1  # of torch, per process; changes the bits, and is therefore never "all cores"
    keep_last: int = field(default=3, metadata=UNHASHED)

    def __post_init__(self) -> None:
        _require(self.threads >= 1, 'runtime.threads', f'must be at least 1, not {self.threads}')
        _require(self.keep_last >= 1, 'runtime.keep_last', f'must be at least 1, not {self.keep_last}')


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

    def section(self, name: str) -> Any:
        """Returns an optional section that the calling tool needs.

        Raises:
            ConfigError: If the config does not have it.
        """
        value = getattr(self, name)
        _require(value is not None, name,
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

        Raises:
            ConfigError: If there is no section `training`.
        """
        training: TrainingConfig = self.section('training')
        return dataclasses.replace(
            self,
            data=dataclasses.replace(self.data, partition=None, batch_size=training.batch_size or self.data.batch_size),
            optim_wrapper=self.optim_wrapper if training.optim_wrapper is None else training.optim_wrapper,
            schedule=self.schedule if training.schedule is None else training.schedule,
            federation=None,
            training=dataclasses.replace(training, optim_wrapper=None, schedule=None, batch_size=None),
        )


_EXAMPLES = {'federation': "e.g. federation = dict(rounds=20, clients_per_round=5, strategy=dict(type='FedVSSL'))",
             'training': 'e.g. training = dict(epochs=90), with optim_wrapper, schedule or batch_size where they '
                         "differ from the config's own"}


def load_config(file: str | Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Reads, overrides and validates a config file.

    Args:
        file: A ``.py`` config.
        overrides: Dotted keys to values, as ``--cfg-options`` gives them.

    Raises:
        ConfigError: For anything wrong with it, naming the key and what would have been accepted.
    """
    from mmengine.config import Config

    path = Path(file)
    if path.suffix != '.py' or not path.is_file():
        raise ConfigError(f'{path}: no such config file (a Python file ending in .py)')
    try:
        cfg = Config.fromfile(path, import_custom_modules=False)
        cfg.merge_from_dict(_replacing_partition(cfg.get('data'), overrides or {}))
    except Exception as error:  # the file is Python: anything can happen in it
        raise ConfigError(f'{path}: cannot be read as a config: {type(error).__name__}: {error}') from error
    return from_dict(cfg.to_dict())


def _replacing_partition(data: Any, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Lets an overriding type of ``data.partition`` replace it whole: the arguments of another scheme mean nothing."""
    key, options = 'data.partition', dict(overrides)
    there = data.get('partition') if isinstance(data, Mapping) else None
    if not there:
        options.pop(f'{key}._delete_', None)
    elif options.get(f'{key}.type', there.get('type')) != there.get('type'):
        options[f'{key}._delete_'] = True
    return options


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Builds the validated config from plain dictionaries."""
    values = dict(values)
    dataset = values.pop('dataset', None)
    if dataset is not None and isinstance(values.setdefault('data', {}), Mapping):
        values['data'] = _parse(DatasetConfig, dataset, 'dataset').beneath(values['data'])
    return _parse(RunConfig, values, '')


_RENAMED = {'data.backend': 'data.decode.backend'}


def _parse(section: type, values: Any, path: str) -> Any:
    """Builds dataclass `section` from a mapping, checking names and types; `path` is the dotted key so far."""
    _require(isinstance(values, Mapping), path or 'config', f'must be a dict, not {values!r}')
    hints = get_type_hints(section)
    for key in values:
        renamed = _RENAMED.get(_join(path, key))
        hint = f'; it is now {renamed}' if renamed else suggest(key, hints)
        _require(key in hints, _join(path, key), 'unknown key' + hint)
    arguments = {}
    for spec in dataclasses.fields(section):
        key = _join(path, spec.name)
        if spec.name in values:
            arguments[spec.name] = _convert(hints[spec.name], values[spec.name], key)
        else:
            optional = spec.default is not dataclasses.MISSING or spec.default_factory is not dataclasses.MISSING
            _require(optional, key, 'is required and missing')
    return section(**arguments)


def _convert(hint: Any, value: Any, key: str) -> Any:
    """Returns `value` as what the type hint says, or refuses it."""
    if get_origin(hint) is UnionType:
        if value is None:
            return None
        hint = next(option for option in get_args(hint) if option is not type(None))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _parse(hint, value, key)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is list and isinstance(value, tuple):
        return list(value)
    valid = isinstance(value, hint) and not (hint is int and isinstance(value, bool))
    _require(valid, key, f'must be of type {hint.__name__}, not {value!r}')
    return value


def _join(path: str, key: str) -> str:
    return f'{path}.{key}' if path else str(key)


def config_hash(config: RunConfig) -> str:
    """Returns the SHA-256 of everything that can change a result, as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(identity(config), sort_keys=True).encode()).hexdigest()


def identity(section: Any) -> dict[str, Any]:
    """Returns a config (or a section) as plain JSON values, without the fields that cannot change a result."""
    result = {}
    for spec in dataclasses.fields(section):
        if spec.metadata.get('hashed', True):
            value = getattr(section, spec.name)
            result[spec.name] = identity(value) if dataclasses.is_dataclass(value) else value
    return json.loads(json.dumps(result))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns one line per key in which two configs (as `identity` gives them) differ."""
    flat_old, flat_new = dict(_flatten(old)), dict(_flatten(new))
    missing = '(absent)'
    return [f'{key}: {flat_old.get(key, missing)} -> {flat_new.get(key, missing)}'
            for key in sorted({*flat_old, *flat_new}) if flat_old.get(key, missing) != flat_new.get(key, missing)]


def _flatten(value: Any, path: str = '') -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, child in value.items():
            yield from _flatten(child, _join(path, key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _flatten(item, f'{path}[{index}]')
    else:
        yield path, json.dumps(value)


def check_types(config: RunConfig) -> None:
    """Checks every ``dict(type=...)``: the type is registered, and each key is an argument of it.

    Raises:
        ConfigError: Naming the key, with the nearest names.
    """
    from fedvssl import registry

    data, federation, training = config.data, config.federation, config.training
    _check(config.model, registry.MODELS, 'model')
    _check_optim_wrapper(config.optim_wrapper, 'optim_wrapper')
    _check(config.schedule, registry.SCHEDULES, 'schedule')
    if data.partition is not None:
        _check(data.partition, registry.PARTITIONERS, 'data.partition')
    for name, phase in (('train', data.train), ('test', data.test)):
        if phase is not None:
            _check(phase.sampler, registry.SAMPLERS, f'data.{name}.sampler')
            for index, transform in enumerate(phase.transforms):
                _check(transform, registry.TRANSFORMS, f'data.{name}.transforms[{index}]')
    if federation is not None:
        _check(federation.strategy, registry.STRATEGIES, 'federation.strategy')
    if training is not None and training.optim_wrapper is not None:
        _check_optim_wrapper(training.optim_wrapper, 'training.optim_wrapper')
    if training is not None and training.schedule is not None:
        _check(training.schedule, registry.SCHEDULES, 'training.schedule')


def _check_optim_wrapper(cfg: Mapping[str, Any], path: str) -> None:
    """Checks mmengine's optimiser wrapper, whose parts come from three places."""
    from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
    from torch.nn.utils import clip_grad_norm_, clip_grad_value_

    _require('optimizer' in cfg, f'{path}.optimizer', 'is required and missing')
    _check({key: cfg[key] for key in cfg if key not in ('optimizer', 'clip_grad', 'paramwise_cfg', 'constructor')},
           OPTIM_WRAPPERS, path)
    _check(cfg['optimizer'], OPTIMIZERS, f'{path}.optimizer')
    clip = cfg.get('clip_grad') or {}
    _require(isinstance(clip, Mapping), f'{path}.clip_grad', f'must be a dict such as dict(max_norm=40), not {clip!r}')
    known = {*_arguments(clip_grad_value_ if clip.get('type') == 'value' else clip_grad_norm_), 'type'} - {'parameters'}
    for key in clip:
        _require(key in known, f'{path}.clip_grad.{key}', 'unknown argument' + suggest(key, known))


def _check(cfg: Any, registry: Any, path: str) -> None:
    """Checks one ``dict(type=...)`` and those inside it, which belong to the same registry."""
    _require(isinstance(cfg, Mapping) and 'type' in cfg, path, f"must be a dict with 'type', not {cfg!r}")
    name = cfg['type']
    _require(isinstance(name, str), f'{path}.type', f'must be a name, not {name!r}')
    built = registry.get(name)
    _require(built is not None, f'{path}.type', f'unknown type {name!r}{suggest(name, _names(registry))}')
    known = _arguments(built)
    for key, value in cfg.items():
        _require(key == 'type' or key in known, _join(path, key), f'unknown argument of {name}{suggest(key, known)}')
        # Arguments annotated as `dict` are configs of parts; other libraries' are recognised by their `type`.
        if isinstance(value, Mapping) and ('type' in value or known.get(key) is dict):
            _check(value, registry, _join(path, key))
        if isinstance(value, list | tuple):
            for index, item in enumerate(value):
                if isinstance(item, Mapping):
                    _check(item, registry, f'{_join(path, key)}[{index}]')


def _names(registry: Any) -> set[str]:
    """Returns all names a registry knows, those of its parent included."""
    names = set(registry.module_dict)
    return names | _names(registry.parent) if registry.parent is not None else names


def _arguments(built: Any) -> dict[str, Any]:
    """Returns the arguments of a class and their annotations, through its bases where it passes ``**kwargs`` on."""
    arguments: dict[str, Any] = {}
    for owner in inspect.getmro(built) if inspect.isclass(built) else (built,):
        parameters = inspect.signature(owner).parameters.values() if owner is not object else ()
        arguments |= {p.name: p.annotation for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return arguments
