"""Reading the config file of a comparison, and refusing what is wrong with it before any of its leaves is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedvssl.compare.comparison import (
    KINDS,
    PRETRAINED,
    TASKS,
    ArmConfig,
    Comparison,
    ComparisonConfig,
    Evaluation,
    require_different,
    require_seeds,
)
from fedvssl.config import parse_section, read_config
from fedvssl.errors import ConfigError, suggest
from fedvssl.sections import require


def load_comparison(file: str | Path) -> Comparison:
    """Reads and validates the config file of a comparison.

    Raises:
        ConfigError: For anything wrong with it, naming the key and what would have been accepted.
    """
    raw: ComparisonConfig = parse_section(ComparisonConfig, read_config(file), '')
    comparison = Comparison(
        [parse_section(ArmConfig, arm, f'arms[{index}]') for index, arm in enumerate(raw.arms)],
        [parse_section(Evaluation, item, f'evaluations[{index}]') for index, item in enumerate(raw.evaluations)],
        raw.seeds, raw.settings, raw.options, raw.reference, Path(file).parent)
    require_seeds(comparison.seeds, 'seeds')
    check_options(raw.options, 'options')
    require(bool(raw.settings), 'settings', 'must not be empty; leave it out for a single one')
    for name, options in raw.settings.items():
        check_options(options, f'settings[{name!r}]')
    _check_evaluations(comparison)
    _check_arms(comparison)
    return comparison


def _check_evaluations(comparison: Comparison) -> None:
    require(bool(comparison.evaluations), 'evaluations', 'must not be empty')
    require_different([item.title for item in comparison.evaluations], 'evaluations')
    for index, item in enumerate(comparison.evaluations):
        key = f'evaluations[{index}]'
        require(item.task in TASKS, f'{key}.task', f'no such task: {item.task!r}{suggest(item.task, TASKS)}')
        require(item.measures is None or item.measures != [] and all(isinstance(name, str) for name in item.measures),
                f'{key}.measures', f'must be names of figures such as {TASKS[item.task]}, not {item.measures!r}')
        check_options(item.options, f'{key}.options')
        _require_file(comparison, item.config, f'{key}.config')


def _check_arms(comparison: Comparison) -> None:
    require(bool(comparison.arms), 'arms', 'must not be empty')
    require_different([arm.name for arm in comparison.arms], 'arms')
    names, titles = [arm.name for arm in comparison.arms], [item.title for item in comparison.evaluations]
    require(comparison.reference is None or comparison.reference in names, 'reference',
            f'no such arm: {comparison.reference!r}{suggest(str(comparison.reference), names)}')
    for index, arm in enumerate(comparison.arms):
        key = f'arms[{index}]'
        require(arm.kind in KINDS, f'{key}.kind', f'no such kind: {arm.kind!r}{suggest(arm.kind, KINDS)}')
        check_options(arm.options, f'{key}.options')
        for name in arm.evaluations or []:
            require(name in titles, f'{key}.evaluations', f'no such evaluation: {name!r}{suggest(str(name), titles)}')
        if arm.kind in PRETRAINED:
            require(arm.config is not None, f'{key}.config', f'is required for an arm of kind {arm.kind!r} and missing')
            _require_file(comparison, str(arm.config), f'{key}.config')
        else:
            require(arm.config is None and not arm.options, f'{key}.{"config" if arm.config else "options"}',
                    f'an arm of kind {arm.kind!r} has no pretraining')
        require(bool(comparison.evaluations_of(arm)), f'{key}.evaluations',
                f'none of {titles} fits an arm of kind {arm.kind!r}; see fedvssl/compare/comparison.py')


def check_options(options: Any, key: str) -> None:
    """Checks options of configs.

    Raises:
        ConfigError: If they are no dictionary, or name the seed.
    """
    require(isinstance(options, Mapping) and all(isinstance(name, str) for name in options), key,
            f"must be a dict of keys and values, such as {{'data.batch_size': 8}}, not {options!r}")
    require('seed' not in options, key, 'the seed comes from seeds')


def _require_file(comparison: Comparison, config: str, key: str) -> None:
    if not comparison.file(config).is_file():
        raise ConfigError(f'{key}: {comparison.file(config)}: no such config file; it is looked for relative to the '
                          f"comparison's own")
