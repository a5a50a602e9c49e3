"""Overhead of a client-round: CPU time of the client's process beyond loading and training steps."""

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedvssl import commit
from fedvssl.benchmarks.measuring import spread
from fedvssl.config import RunConfig, config_hash, from_dict, identity
from fedvssl.data.loader import Batch
from fedvssl.environment import describe_environment
from fedvssl.federated import client as client_module
from fedvssl.federated.run import federate
from fedvssl.training.hooks import Hook, Metrics
from fedvssl.training.trainer import Trainer


def measure_overhead(config: RunConfig, rounds: int) -> dict[str, Any]:
    """Runs a federation in this process and measures each client-round, and each round as a whole.

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
    clock = _RoundClock()
    with tempfile.TemporaryDirectory() as work_dir, _timed(measured):
        federate(config, Path(work_dir), hook=clock)
    clients = config.section('federation').clients_per_round
    counted = measured[clients:]
    steps = [sum(m['steps'] for m in measured[k:k + clients]) for k in range(0, len(measured), clients)]
    rounds_beyond = [(cpu - step) / clients for cpu, step in zip(clock.cpu_ms[1:], steps[1:], strict=True)]
    return dict(
        benchmark='engine',
        overhead_cpu_ms=spread(m['round'] - m['steps'] - m['fsync_cpu'] for m in counted),
        round_cpu_ms_per_client=spread(rounds_beyond),
        fsync_cpu_ms=spread(m['fsync_cpu'] for m in counted),
        fsync_wall_ms=spread(m['fsync_wall'] for m in counted),
        steps_cpu_ms=spread(m['steps'] for m in counted),
        config_hash=config_hash(config), config=values, environment=describe_environment())


class _RoundClock(Hook):
    """CPU time of each round in this process, in milliseconds: clients, checks, aggregation, commit."""

    def __init__(self) -> None:
        self.cpu_ms: list[float] = []

    def before_round(self, number: int, steps: int) -> None:
        """Starts the clock."""
        self._begun = time.process_time()

    def after_round(self, number: int, metrics: Metrics) -> None:
        """Stops it."""
        self.cpu_ms.append(1e3 * (time.process_time() - self._begun))


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

    client_module.Client.train, Trainer.fit = timed_train, timed_fit  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        client_module.Client.train, Trainer.fit = train, fit  # type: ignore[method-assign]
