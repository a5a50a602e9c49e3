"""Hooks that tell: live progress on the console, and one JSON object a line in a file."""

import contextlib
import json
import time
from io import RawIOBase
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fedvssl.commit import crash_point, unwritten
from fedvssl.errors import StorageError
from fedvssl.training.hooks import Hook, Metrics

SHOWN = ('clients', 'loss', 'accuracy', 'lr', 'epsilon')  # and what was measured on held-out videos
MONITORED = ('chance', 'feature_std', 'rankme', 'centred_rank', 'knn', 'update_norm', 'update_cosine')


class ConsoleHook(Hook):
    """A live bar with rounds, steps, loss and remaining time; plain lines where the output is not a terminal.

    Args:
        unit: What a round is called.
        step_unit: What a step is called.
        console: Where to write; standard output by default.
    """

    def __init__(self, unit: str = 'round', step_unit: str = 'client', console: Console | None = None) -> None:
        self.unit, self.step_unit = unit, step_unit
        self.console = console or Console(highlight=False, markup=False)
        self._progress: Progress | None = None

    def before_run(self, info: Metrics) -> None:
        """Shows what runs, and starts the bar."""
        self._rounds, self._begun, self._first = info['rounds'], time.monotonic(), info['first_round']
        self.console.print('  '.join(f'{key}={_short(value)}' for key, value in info.items()), soft_wrap=True)
        if self.console.is_terminal:
            columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                       TimeRemainingColumn())
            self._progress = Progress(*columns, console=self.console)
            self._run = self._progress.add_task(f'{self.unit}s', total=self._rounds, completed=self._first - 1)
            self._round = self._progress.add_task(f'{self.step_unit}s')
            self._progress.start()

    def before_round(self, number: int, steps: int) -> None:
        """Empties the bar of steps."""
        if self._progress:
            self._progress.reset(self._round, total=steps)

    def after_step(self, number: int, metrics: Metrics) -> None:
        """Advances the bar of steps, and shows the loss."""
        if self._progress:
            shown = f'{self.step_unit}s  loss {_short(metrics["loss"])}' if 'loss' in metrics else f'{self.step_unit}s'
            self._progress.update(self._round, advance=1, description=shown)

    def after_round(self, number: int, metrics: Metrics) -> None:
        """Prints the round's line with the time that is left."""
        done = number - self._first + 1
        left = (time.monotonic() - self._begun) / done * (self._rounds - number)
        measured = sorted(key for key in metrics if key.startswith('test_') and not key.endswith('num-examples'))
        values = {**metrics, **metrics.get('monitor', {})}
        shown = '  '.join(f'{key} {_short(values[key])}' for key in (*SHOWN, *measured, *MONITORED) if key in values)
        self.console.print(f'{self.unit} {number}/{self._rounds}  {shown}  eta {_clock(left)}', soft_wrap=True)
        if self._progress:
            self._progress.update(self._run, completed=number)

    def after_run(self, metrics: Metrics) -> None:
        """Ends the bar and prints what the run came to."""
        if self._progress:
            self._progress.stop()
        shown = (_entry(key, value) for key, value in metrics.items() if not isinstance(value, dict))
        self.console.print('  '.join(shown), soft_wrap=True)


class JsonlHook(Hook):
    """Appends every event to a file, one JSON object a line, flushed at once.

    Args:
        file: The log; a resumed run appends to it.
        every: Only every so many steps of a round are logged.
    """

    def __init__(self, file: Path, every: int = 1) -> None:
        self.file, self.every = file, every

    def _write(self, event: str, **values: object) -> None:
        line = json.dumps({'event': event, 'time': round(time.time(), 3), **values}).encode() + b'\n'
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open('ab', buffering=0) as stream:
                _append(stream, line)
        except OSError as error:
            raise StorageError(unwritten(self.file, error, len(line))) from error
        crash_point(f'logged:{event}')

    def before_run(self, info: Metrics) -> None:
        """Writes ``run``, behind the last whole line: a process that was killed may have left half of one."""
        with contextlib.suppress(OSError), self.file.open('r+b') as stream:
            stream.truncate(stream.read().rfind(b'\n') + 1)
        self._write('run', **info)

    def after_step(self, number: int, metrics: Metrics) -> None:
        """Writes ``step``, unless it is between two that are logged; a client's reply has no number and always is."""
        if metrics.get('step', 0) % self.every == 0:
            self._write('step', round=number, **metrics)

    def after_round(self, number: int, metrics: Metrics) -> None:
        """Writes ``round``."""
        self._write('round', round=number, **metrics)

    def after_run(self, metrics: Metrics) -> None:
        """Writes ``end``; a full disk must not take the place of the error that ended the run."""
        with contextlib.suppress(*[StorageError] if 'error' in metrics else []):
            self._write('end', **metrics)


def _append(stream: RawIOBase, line: bytes) -> None:
    """Appends a line as a whole or, where the disk is full, not at all."""
    end, rest = stream.tell(), line
    try:
        while rest:
            rest = rest[stream.write(rest):]
    except OSError:
        stream.truncate(end)
        raise


def _entry(key: str, value: object) -> str:
    if key.startswith('bytes_') and isinstance(value, int | float):
        return f'MB_{key.removeprefix("bytes_")} {value / 1e6:.2f}'
    return f'{key} {_short(value)}'


def _short(value: object) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f'{minutes // 60}:{minutes % 60:02d}:{seconds:02d}'
