"""``result.json``: every number with the protocol, the data and the machine behind it."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fedvssl.commit import write_json
from fedvssl.config import RunConfig, config_hash, identity
from fedvssl.data.dataset import list_digests
from fedvssl.environment import describe_environment
from fedvssl.errors import ConfigError
from fedvssl.evaluation.metrics import wilson_interval

RESULT_FILE = 'result.json'


def require_free(work_dir: Path) -> None:
    """Refuses a work directory that already holds a result.

    Raises:
        ConfigError: If it does.
    """
    if (work_dir / RESULT_FILE).exists():
        raise ConfigError(f'{work_dir}: already holds a {RESULT_FILE}; choose another --work-dir')


def write_result(work_dir: Path, config: RunConfig, task: str, protocol: Mapping[str, Any],
                 measured: Mapping[str, float], n: int, shares: Collection[str] = (), **details: Any) -> dict[str, Any]:
    """Writes a result.

    Args:
        work_dir: Where to.
        config: The run.
        task: What was measured, e.g. ``'knn'``.
        protocol: How: its ``name``, and every number that belongs to it.
        measured: The figures.
        n: Test videos they were measured on.
        shares: Which figures are shares of the `n` videos; these get a 95 % Wilson interval.
        **details: What else there is to say.

    Returns:
        What was written.

    Raises:
        StorageError: If it cannot be written.
    """
    result = dict(
        task=task, protocol=dict(protocol), n=n, measured=dict(measured),
        intervals={name: list(wilson_interval(round(measured[name] * n), n)) for name in shares},
        seed=config.seed, config_hash=config_hash(config), config=identity(config), lists=list_digests(config.data),
        environment=describe_environment(), **details)
    write_json(work_dir / RESULT_FILE, result)
    return result
