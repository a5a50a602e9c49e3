"""Threads, each with a child process of its own that can be killed: what a file does to a decoder stays its affair."""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from fedvssl.video.processes.child import ChildProcess

Task = TypeVar('Task')
Result = TypeVar('Result')


class ChildPool:
    """Runs tasks in parallel.

    Args:
        workers: How many at a time, at least 1.
        module: What the children run, see `ChildProcess`.
    """

    def __init__(self, workers: int, module: str) -> None:
        self._workers, self._module = workers, module
        self._of_thread = threading.local()
        self._busy: set[ChildProcess] = set()

    def run(self, tasks: Iterable[Task],
            work: Callable[[ChildProcess, Task], Result]) -> Generator[tuple[Task, Result], None, None]:
        """Yields each task with its result as soon as that is there.

        Whoever stops early closes the iterator (`contextlib.closing`): that kills what is under way.

        Args:
            tasks: Any number; they are taken as they are needed.
            work: Is given the child to use.

        Raises:
            Exception: What `work` raises.
        """
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix='child')
        futures: dict[Future[Result], Task] = {}
        waiting = iter(tasks)
        try:
            while True:
                for task in islice(waiting, 2 * self._workers - len(futures)):
                    futures[pool.submit(self._work, work, task)] = task
                if not futures:
                    return
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    yield futures.pop(future), future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in futures):
                self._kill_busy()
            pool.shutdown()

    def _work(self, work: Callable[[ChildProcess, Task], Result], task: Task) -> Result:
        if not hasattr(self._of_thread, 'child'):  # it is killed when the thread ends
            self._of_thread.child = ChildProcess(self._module)
        child: ChildProcess = self._of_thread.child
        self._busy.add(child)
        try:
            return work(child, task)
        finally:
            self._busy.discard(child)

    def _kill_busy(self) -> None:
        """Kills the children that are at work; their threads then see them gone."""
        for pid in filter(None, [child.pid for child in set(self._busy)]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
