"""Monitors: hooks, named in the config, that measure a run while it trains and change nothing of it.

A config's list ``monitors`` holds them, e.g. ``dict(type='UpdateMonitor', every=10)``. What they measure is ``monitor``
in the line of a round, in ``log.jsonl`` and on the console; the run's own state and metrics never hold it. So a run has
the same bits and the same hash with monitors and without, and one that is resumed may have others, or none. What a
monitor remembers from round to round, such as since when a figure has been low, lives in the process: a resumed run
begins to count anew.
"""

import logging
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedvssl.config import RunConfig
from fedvssl.errors import ConfigError, FedVSSLError
from fedvssl.registry import MONITORS, build
from fedvssl.training.hooks import Arrays, Hook, Metrics

logger = logging.getLogger('fedvssl')

MONITOR = 'monitor'  # a round's metric: what was measured


class Monitor(Hook):
    """Base of all monitors.

    Args:
        every: Rounds (or epochs) from one measurement to the next; the last round is always measured.

    Raises:
        ConfigError: If `every` is not positive.
    """

    def __init__(self, every: int = 10) -> None:
        if not isinstance(every, int) or every < 1:
            raise ConfigError(f'monitors: {type(self).__name__}: every must be an integer of at least 1, not {every!r}')
        self.every = every
        self.rounds = 0

    def prepare(self, config: RunConfig, work_dir: Path) -> None:
        """Called once before anything else, with the view of the config that the tool works on.

        Raises:
            FedVSSLError: If what is to be measured cannot be.
        """

    def before_run(self, info: Metrics) -> None:
        """Takes down how long the run is."""
        self.rounds = info['rounds']

    def initial(self) -> Metrics:
        """Returns what can be said of the initial weights; it is shown where the run begins.

        Raises:
            FedVSSLError: If something cannot be measured: better now than in an hour.
        """
        return {}

    def due(self, number: int) -> bool:
        """Returns whether round `number` is to be measured."""
        return number % self.every == 0 or number == self.rounds

    @abstractmethod
    def measure(self, number: int, metrics: Metrics) -> Metrics:
        """Returns what there is to say of a round that is finished and safe.

        Args:
            number: The round.
            metrics: Its metrics.
        """


class Monitored(Hook):
    """Tells another hook of the run, and with each round what monitors measured in it.

    Args:
        monitors: Who measures.
        hook: Who is told.
    """

    def __init__(self, monitors: list[Monitor], hook: Hook) -> None:
        self.monitors, self.hook = monitors, hook

    def before_run(self, info: Metrics) -> None:
        """Passes the call on, with what the monitors say of the initial weights."""
        found: dict[str, Any] = {}
        for monitor in self.monitors:
            monitor.before_run(info)
            found |= {f'initial_{key}': value for key, value in monitor.initial().items()}
        self.hook.before_run({**info, **found})

    def before_round(self, number: int, steps: int) -> None:
        """Passes the call on."""
        for hook in (*self.monitors, self.hook):
            hook.before_round(number, steps)

    def after_reply(self, number: int, metrics: Metrics, sent: Arrays, received: Arrays) -> None:
        """Passes the call on."""
        for monitor in self.monitors:
            with _surviving(monitor, number):
                monitor.after_reply(number, metrics, sent, received)
        self.hook.after_reply(number, metrics, sent, received)

    def after_step(self, number: int, metrics: Metrics) -> None:
        """Passes the call on."""
        for hook in (*self.monitors, self.hook):
            hook.after_step(number, metrics)

    def after_round(self, number: int, metrics: Metrics) -> None:
        """Passes the call on, with what was measured; a monitor that fails says so, and the run goes on."""
        found, begun = dict[str, Any](), time.perf_counter()
        for monitor in self.monitors:
            if monitor.due(number):
                with _surviving(monitor, number):
                    found |= monitor.measure(number, metrics)
        if found:
            metrics = {**metrics, MONITOR: {**found, 'seconds': time.perf_counter() - begun}}
        self.hook.after_round(number, metrics)

    def after_run(self, metrics: Metrics) -> None:
        """Passes the call on."""
        for hook in (*self.monitors, self.hook):
            hook.after_run(metrics)


@contextmanager
def _surviving(monitor: Monitor, number: int) -> Iterator[None]:
    """Keeps a monitor's failure from the run, whatever it is: a GPU's memory that is full, a library that gives up."""
    try:
        yield
    except Exception as error:
        reason = error if isinstance(error, FedVSSLError) else f'{type(error).__name__}: {error}'
        logger.warning('round %d: %s could not measure: %s', number, type(monitor).__name__, reason)


def check_monitors(config: RunConfig) -> None:
    """Builds the monitors that a config names, and lets each measure the initial weights.

    Raises:
        FedVSSLError: If one refuses its arguments, or lacks what it is to measure.
    """
    for monitor in _prepared(config, Path()):
        monitor.initial()


def monitored(config: RunConfig, work_dir: Path, hook: Hook) -> Hook:
    """Puts the monitors that a config names before a hook; without any, returns the hook itself.

    Args:
        config: The run, as the tool sees it.
        work_dir: Where it is kept.
        hook: Who is told of the run.

    Raises:
        FedVSSLError: If a monitor refuses its arguments, or the lists that it needs are wrong.
    """
    monitors = _prepared(config, work_dir)
    return Monitored(monitors, hook) if monitors else hook


def _prepared(config: RunConfig, work_dir: Path) -> list[Monitor]:
    monitors = [build(MONITORS, cfg, f'monitors[{index}]') for index, cfg in enumerate(config.monitors)]
    for monitor in monitors:
        monitor.prepare(config, work_dir)
    return monitors
