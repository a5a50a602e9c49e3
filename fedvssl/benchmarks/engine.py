"""Overhead of a client-round: CPU time of the client's process beyond loading and training steps."""

import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedvssl import commit
from fedvssl.config import RunConfig, config_hash, from_dict, identity
from fedvssl.data.loader import Batch
from fedvssl.environment import describe_environment
from fedvssl.federated import client as client_module
from fedvssl.federated.run import federate
from fedvssl.training.hooks import Hook
from fedvssl.training.trainer import Trainer


def measure_overhead(config: RunConfig, rounds: int) -> dict[str, Any]:
    """Runs a federation in this process and measures each client-round.

    Args:
        config: The run; its number of rounds is replaced, and its clients run in this process.
        rounds: Rounds to measure; one more comes first and does not count, because it builds the model.

    Returns:
        Minimum, median and maximum over the client-rounds, in milliseconds, with hardware and versions.
    """
    values = identity(config)
    values['federation'].update(rounds=rounds + 1, evaluate_every=0, workers=0)
    config = from_dict(values)
    measured: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as work_dir, _timed(measured):
        federate(config, Path(work_dir), hook=Hook())
    counted = measured[config.federation.clients_per_round:]
    return dict(
        benchmark='engine',
        overhead_cpu_ms=_spread(m['round'] - m['steps'] - m['fsync_cpu'] for m in counted),
        fsync_cpu_ms=_spread(m['fsync_cpu'] for m in counted),
        fsync_wall_ms=_spread(m['fsync_wall'] for m in counted),
        steps_cpu_ms=_spread(m['steps'] for m in counted),
        config_hash=config_hash(config), config=values, environment=describe_environment())


@contextmanager
def _timed(measured: list[dict[str, float]]) -> Iterator[None]:
    """Puts stop-watches around `Client.train` and `Trainer.fit` for as long as the context lasts."""
    train, fit = client_module.Client.train, Trainer.fit
    steps = 0.0

    def timed_fit(self: Trainer, batches: Iterable[Batch], *args: Any, **kwargs: Any) -> Mapping[str, float]:
        nonlocal steps
        begun = time.process_time()
        try:
            return fit(self, batches, *args, **kwargs)
        finally:
            steps += time.process_time() - begun

    def timed_train(self: client_module.Client, message: Any, context: Any) -> Any:
        nonlocal steps
        steps, waited, wall = 0.0, commit.fsync_time.cpu, commit.fsync_time.wall
        begun = time.process_time()
        reply = train(self, message, context)
        measured.append(dict(round=1e3 * (time.process_time() - begun), steps=1e3 * steps,
                             fsync_cpu=1e3 * (commit.fsync_time.cpu - waited),
                             fsync_wall=1e3 * (commit.fsync_time.wall - wall)))
        return reply

    client_module.Client.train, Trainer.fit = timed_train, timed_fit  # type: ignore[method-assign]
    try:
        yield
    finally:
        client_module.Client.train, Trainer.fit = train, fit  # type: ignore[method-assign]


def _spread(values: Iterable[float]) -> dict[str, float]:
    ordered = sorted(values)
    return dict(n=len(ordered), min=ordered[0], median=statistics.median(ordered), max=ordered[-1])
