"""Fine-tuning on several splits of one list, and the mean of what they give.

Lists with several splits have a column for each, e.g. ``split1``, ``split2``, ``split3`` (UCF-101, HMDB-51), and the
config names one of them as ``data.split_column``. Here one run a split is made:

    work_dir/split1, split2, ...     runs as `finetune` makes them
    work_dir/result.json             the mean over the splits, and what each gave
"""

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedvssl.config import RunConfig
from fedvssl.errors import ConfigError
from fedvssl.evaluation.finetune import finetune
from fedvssl.evaluation.labels import train_and_test_videos
from fedvssl.evaluation.result import require_free, write_result
from fedvssl.state import CONFIG_FILE
from fedvssl.training.hooks import Hook


def finetune_splits(config: RunConfig, splits: Sequence[int], work_dir: Path, pretrained: str | None,
                    make_hook: Callable[[Path], Hook], resume: bool = False) -> dict[str, Any]:
    """Fine-tunes and tests on each split, and writes the mean.

    A mean over splits is no share of a number of videos, and a dataset's splits may share videos: it has no interval.
    What it has are each split's own, and the standard deviation over the splits.

    Args:
        config: The run, on one of the splits.
        splits: Numbers of the splits, in the order in which they are to be run.
        work_dir: Where the runs are kept.
        pretrained: Checkpoint of a backbone; None trains from scratch.
        make_hook: Gives the side jobs of a run in its directory.
        resume: Whether to continue the runs there: what is finished is kept, what was not begun is begun.

    Returns:
        What ``result.json`` of the work directory holds.

    Raises:
        ConfigError: If the config's column is no numbered one, or the directory holds runs and `resume` is false, or
            none and it is true.
        DataListError: If the list has no such splits. All of them are looked at before the first is trained.
        FedVSSLError: For whatever ends one of the runs.
    """
    config = config.centralised()
    columns = split_columns(config, splits)
    runs = {name: (replace(config, data=replace(config.data, split_column=column)), work_dir / name)
            for name, column in columns.items()}
    begun = [directory for _, directory in runs.values() if (directory / CONFIG_FILE).exists()]
    if resume and not begun:
        raise ConfigError(f'--resume: {work_dir} holds no runs of {", ".join(columns)}')
    if not resume:
        require_free(work_dir)
        if begun:
            raise ConfigError(f'{begun[0]}: already holds a run; continue with --resume or choose another --work-dir')
    for run_config, _ in runs.values():
        train_and_test_videos(run_config)
    results = {name: finetune(run_config, directory, pretrained, make_hook(directory), directory in begun)
               for name, (run_config, directory) in runs.items()}
    return _write_mean(config, work_dir, results)


def split_columns(config: RunConfig, splits: Sequence[int]) -> dict[str, str]:
    """Returns the column of each split, by ``'split<number>'``: the config's own with another number at its end.

    Raises:
        ConfigError: If that column has no number, or a split is asked for twice.
    """
    column = config.data.split_column
    match = re.fullmatch(r'(.*?)[0-9]+', column)
    if match is None:
        raise ConfigError(f'--splits: data.split_column is {column!r}, of which there is but one; a list with several '
                          f'splits has numbered columns, such as split1, and the config names one of them')
    twice = sorted({split for split in splits if splits.count(split) > 1})
    if twice:
        raise ConfigError(f'--splits: {twice[0]} is there twice')
    return {f'split{split}': f'{match[1]}{split}' for split in splits}


def _write_mean(config: RunConfig, work_dir: Path, results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    first = next(iter(results.values()))
    names = list(first['measured'])
    values = {name: [result['measured'][name] for result in results.values()] for name in names}
    protocol = {**first['protocol'], 'name': f'{first["task"]}-splits',  # published is split 1 alone
                'split': [result['protocol']['split'] for result in results.values()],
                'reported': f'{first["protocol"]["reported"]}, mean over {len(results)} splits'}
    return write_result(
        work_dir, config, first['task'], protocol,
        measured={name: statistics.fmean(figures) for name, figures in values.items()},
        n=sum(result['n'] for result in results.values()),
        deviations={name: statistics.stdev(figures) if len(figures) > 1 else None for name, figures in values.items()},
        splits={name: {key: result[key] for key in ('measured', 'intervals', 'n', 'train_videos', 'config_hash')}
                for name, result in results.items()},
        pretrained=first['pretrained'], pretrained_sha256=first['pretrained_sha256'],
        bad_videos={path: reason for result in results.values() for path, reason in result['bad_videos'].items()},
        reproducible=all(result['reproducible'] for result in results.values()),
        seconds=sum(result['seconds'] for result in results.values()))
