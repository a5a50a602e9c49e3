"""What the benchmarks share: CPU time, because a shared machine's clock tells nothing, and spreads."""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

_CPU_CLOCK_OF_A_PROCESS = 2  # Linux: the clock of process p is number (~p << 3) | 2


class Stopwatch:
    """CPU time by stage.

    Attributes:
        stages: Milliseconds by name.
    """

    def __init__(self) -> None:
        self.stages: dict[str, float] = defaultdict(float)
        self.start()

    def start(self) -> None:
        """Starts, or goes on after a pause."""
        self._last = time.process_time()

    def __call__(self, stage: str) -> None:
        """Books the time since the last call, or since the start, on a stage."""
        now = time.process_time()
        self.stages[stage] += 1e3 * (now - self._last)
        self._last = now

    @property
    def total(self) -> float:
        """Milliseconds of all stages."""
        return sum(self.stages.values())

    def divide(self, number: int) -> None:
        """Turns sums over `number` clips into means."""
        self.stages = {stage: value / number for stage, value in self.stages.items()}


class CpuClock:
    """CPU seconds of this process, all its threads, and (on Linux) the children that it has when this is made."""

    def __init__(self) -> None:
        files = Path('/proc/self/task').glob('*/children')
        self._children = {int(pid) for file in files for pid in file.read_text().split()}

    def __call__(self) -> float:
        """Returns the sum of all.

        Raises:
            OSError: If one of them has ended.
        """
        return time.process_time() + sum(time.clock_gettime(~pid << 3 | _CPU_CLOCK_OF_A_PROCESS)
                                         for pid in self._children)


def spread(values: Iterable[float]) -> dict[str, float]:
    """Returns number, minimum, median and maximum."""
    values = list(values)
    return dict(n=len(values), min=min(values), median=statistics.median(values), max=max(values))


def times_faster(slow: Sequence[float], fast: Sequence[float]) -> dict[str, float]:
    """Returns the spread of the ratios, repeat by repeat."""
    return spread(other / own for other, own in zip(slow, fast, strict=True))


def keep_memory() -> None:
    """Lets glibc keep big blocks from now on, as it does in any training process.

    It gives big blocks back to the kernel, and every block it asks for again costs page faults, until one big block has
    been freed once: its threshold follows the largest.
    """
    np.empty(31 << 20, dtype=np.uint8)  # allocated and freed at once


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch and OpenCV use one thread for as long as the context lasts."""
    import torch

    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv2_threads)
