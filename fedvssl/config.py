"""Config files: load, override, validate strictly, hash.

A config is a Python file of mmengine's kind (``_base_`` plus what differs) and therefore the operator's own code. Its
sections are the dataclasses of `fedvssl.sections`; ``dict(type=...)`` values are built from registries. Every key is
checked before any data is touched: `load_config` checks the sections (without importing torch), `check_types` the
registered pieces.
"""

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from fedvssl.errors import ConfigError, suggest
from fedvssl.sections import (
    DataConfig,
    DatasetConfig,
    DecodeConfig,
    FederationConfig,
    PhaseConfig,
    RunConfig,
    RuntimeConfig,
    TrainingConfig,
    require,
)

__all__ = ['DataConfig', 'DecodeConfig', 'FederationConfig', 'PhaseConfig', 'RunConfig', 'RuntimeConfig',
           'TrainingConfig', 'check_types', 'config_hash', 'differences', 'from_dict', 'identity', 'load_config',
           'parse_section', 'read_config']


def load_config(file: str | Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Reads, overrides and validates a config file.

    Args:
        file: A ``.py`` config.
        overrides: Dotted keys to values, as ``--cfg-options`` gives them.

    Raises:
        ConfigError: For anything wrong with it, naming the key and what would have been accepted.
    """
    return from_dict(read_config(file, overrides))


def read_config(file: str | Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns what a config file says, bases and overrides included, as plain dictionaries; nothing is validated.

    Args:
        file: A ``.py`` config.
        overrides: Dotted keys to values.

    Raises:
        ConfigError: If there is no such file, or it cannot be executed.
    """
    from mmengine.config import Config

    path = Path(file)
    if path.suffix != '.py' or not path.is_file():
        raise ConfigError(f'{path}: no such config file (a Python file ending in .py)')
    try:
        cfg = Config.fromfile(path, import_custom_modules=False)
        cfg.merge_from_dict(_replacing_parts(cfg.to_dict(), overrides or {}))
    except Exception as error:  # the file is Python: anything can happen in it
        raise ConfigError(f'{path}: cannot be read as a config: {type(error).__name__}: {error}') from error
    return cfg.to_dict()


def _replacing_parts(cfg: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Lets an overriding type of images, partition or strategy replace it whole: arguments of another mean nothing."""
    options = dict(overrides)
    if 'strategy' in cfg:  # which `from_dict` puts in its place
        options = {key.removeprefix('federation.') if f'{key}.'.startswith('federation.strategy.') else key: value
                   for key, value in options.items()}
    for key in ('data.images', 'data.partition', 'federation.strategy', 'strategy'):
        section, _, part = key.rpartition('.')
        parent = cfg.get(section) if section else cfg
        there = parent.get(part) if isinstance(parent, Mapping) else None
        if not there:
            options.pop(f'{key}._delete_', None)
        elif isinstance(there, Mapping):
            whole = options.get(key)
            kind = whole.get('type') if isinstance(whole, Mapping) else options.get(f'{key}.type')
            if kind is not None and kind != there.get('type'):
                options[f'{key}._delete_'] = True
    return options


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Builds the validated config from plain dictionaries.

    Two sections are for putting configs together, and are gone then: ``dataset`` (see `DatasetConfig`), and
    ``strategy``, which takes the place of ``federation.strategy``, so that a piece of its own can choose it.
    """
    values = dict(values)
    strategy = values.pop('strategy', None)
    if strategy is not None:
        require(isinstance(strategy, Mapping) and isinstance(strategy.get('type'), str), 'strategy',
                f'must be a dict with a type, such as FedAvg, not {strategy!r}')
        require(isinstance(values.get('federation'), Mapping), 'strategy', 'needs a section federation')
        values['federation'] = {**values['federation'], 'strategy': strategy}
    dataset = values.pop('dataset', None)
    if dataset is not None and isinstance(values.setdefault('data', {}), Mapping):
        values['data'] = parse_section(DatasetConfig, dataset, 'dataset').beneath(values['data'])
    return parse_section(RunConfig, values, '')


_RENAMED = {'data.backend': 'data.decode.backend'}


def parse_section(section: type, values: Any, path: str) -> Any:
    """Builds a dataclass from plain values, checking names and types.

    Args:
        section: The dataclass.
        values: What the config says.
        path: The dotted key of it, for messages; empty at the top.

    Raises:
        ConfigError: Naming the key.
    """
    require(isinstance(values, Mapping), path or 'config', f'must be a dict, not {values!r}')
    hints = get_type_hints(section)
    for key in values:
        renamed = _RENAMED.get(_join(path, key))
        hint = f'; it is now {renamed}' if renamed else suggest(key, hints)
        require(key in hints, _join(path, key), 'unknown key' + hint)
    arguments = {}
    for spec in dataclasses.fields(section):
        key = _join(path, spec.name)
        if spec.name in values:
            arguments[spec.name] = _convert(hints[spec.name], values[spec.name], key)
        else:
            optional = spec.default is not dataclasses.MISSING or spec.default_factory is not dataclasses.MISSING
            require(optional, key, 'is required and missing')
    return section(**arguments)


def _convert(hint: Any, value: Any, key: str) -> Any:
    """Returns `value` as what the type hint says, or refuses it."""
    if get_origin(hint) is UnionType:
        if value is None:
            return None
        hint = next(option for option in get_args(hint) if option is not type(None))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return parse_section(hint, value, key)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is list and isinstance(value, tuple):
        return list(value)
    valid = isinstance(value, hint) and not (hint is int and isinstance(value, bool))
    require(valid, key, f'must be of type {hint.__name__}, not {value!r}')
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
        value, hashed = getattr(section, spec.name), spec.metadata.get('hashed', True)
        if hashed is True or hashed and value != spec.default:
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
        yield path, json.dumps(value, sort_keys=True)


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
    if data.images is not None:
        _check(data.images, registry.IMAGES, 'data.images')
    for name, phase in (('train', data.train), ('test', data.test)):
        if phase is not None and data.images is None:
            _check(phase.sampler, registry.SAMPLERS, f'data.{name}.sampler')
            for index, transform in enumerate(phase.transforms):
                _check(transform, registry.TRANSFORMS, f'data.{name}.transforms[{index}]')
    for index, monitor in enumerate(config.monitors):
        _check(monitor, registry.MONITORS, f'monitors[{index}]')
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

    require('optimizer' in cfg, f'{path}.optimizer', 'is required and missing')
    _check({key: cfg[key] for key in cfg if key not in ('optimizer', 'clip_grad', 'paramwise_cfg', 'constructor')},
           OPTIM_WRAPPERS, path)
    _check(cfg['optimizer'], OPTIMIZERS, f'{path}.optimizer')
    clip = cfg.get('clip_grad') or {}
    require(isinstance(clip, Mapping), f'{path}.clip_grad', f'must be a dict such as dict(max_norm=40), not {clip!r}')
    known = {*_arguments(clip_grad_value_ if clip.get('type') == 'value' else clip_grad_norm_), 'type'} - {'parameters'}
    for key in clip:
        require(key in known, f'{path}.clip_grad.{key}', 'unknown argument' + suggest(key, known))


def _check(cfg: Any, registry: Any, path: str) -> None:
    """Checks one ``dict(type=...)`` and those inside it, which belong to the same registry."""
    require(isinstance(cfg, Mapping) and 'type' in cfg, path, f"must be a dict with 'type', not {cfg!r}")
    name = cfg['type']
    require(isinstance(name, str), f'{path}.type', f'must be a name, not {name!r}')
    built = registry.get(name)
    require(built is not None, f'{path}.type', f'unknown type {name!r}{suggest(name, _names(registry))}')
    known = _arguments(built)
    for key, value in cfg.items():
        require(key == 'type' or key in known, _join(path, key), f'unknown argument of {name}{suggest(key, known)}')
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
