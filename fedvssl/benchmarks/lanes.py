"""Contestants that take turns, each in a process of its own, as a loader's workers are.

In every repeat each goes once through all clips, so that a disturbance of the machine hits all alike, and every other
repeat reverses their order. A turn is not interrupted: turns of one clip find the processor's caches full of others'
data, which costs a clip of 4 ms half as much again. Each has its own allocator and libraries, so that none lives on
what another has set up. What is counted is the CPU time of the process, all its threads, and its children.
"""

import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

from fedvssl.benchmarks.measuring import CpuClock, keep_memory, one_thread

WARM_UP = -1
"""The repeat that does not count, of one clip."""


class Contestant(Protocol):
    """What is measured. Can be pickled."""

    def begin(self, repeat: int) -> Callable[[int], Any]:
        """Gets ready, off the clock, and returns what works on the clip of a given number."""


def in_turn(contestants: Mapping[str, Contestant], clips: int, repeats: int, kept_memory: bool = False,
            preload: Sequence[str] = ()) -> dict[str, list[float]]:
    """Lets contestants take turns.

    Args:
        contestants: By name.
        clips: Clips each of them works on in a repeat.
        repeats: How often.
        kept_memory: Whether each process first does what `keep_memory` does.
        preload: Modules that the processes are to find imported.

    Returns:
        For each, its CPU milliseconds per clip, one value a repeat.
    """
    means: dict[str, list[float]] = {name: [] for name in contestants}
    with ExitStack() as stack:
        lanes = {name: stack.enter_context(_Lane(contestant, kept_memory, preload))
                 for name, contestant in contestants.items()}
        for lane in lanes.values():
            lane.cpu_seconds(WARM_UP, 1)
        for repeat in range(repeats):
            for name in list(lanes)[::-1 if repeat % 2 else 1]:
                means[name].append(1e3 * lanes[name].cpu_seconds(repeat, clips) / clips)
    return means


class _Lane:
    """A process in which one contestant works."""

    def __init__(self, contestant: Contestant, kept_memory: bool, preload: Sequence[str]) -> None:
        context = get_context('forkserver')
        context.set_forkserver_preload([__name__, *preload])
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, contestant, kept_memory))
        self._process.start()
        theirs.close()

    def cpu_seconds(self, repeat: int, clips: int) -> float:
        """Returns what a turn took."""
        self._connection.send((repeat, clips))
        try:
            answer = self._connection.recv()
        except EOFError:
            raise RuntimeError('a process of the benchmark ended') from None
        if isinstance(answer, str):
            raise RuntimeError(f'in a process of the benchmark: {answer}')
        return answer

    def __enter__(self) -> '_Lane':
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
        self._process.join()


def _serve(connection: Connection, contestant: Contestant, kept_memory: bool) -> None:
    if kept_memory:
        keep_memory()
    with one_thread():
        while True:
            try:
                repeat, clips = connection.recv()
            except EOFError:
                return
            try:
                connection.send(_turn(contestant, repeat, clips))
            except Exception:
                connection.send(traceback.format_exc())


def _turn(contestant: Contestant, repeat: int, clips: int) -> float:
    """Returns the CPU seconds of the work on all clips."""
    work, clock = contestant.begin(repeat), CpuClock()
    begun = clock()
    for number in range(clips):
        work(number)
    return clock() - begun
