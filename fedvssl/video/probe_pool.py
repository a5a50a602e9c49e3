"""Probes many files at once, each in a process that is killed when a file hangs it.

Every thread has a child of its own (``probe_child.py``). What a file does to a decoder is thus a fact about that file,
and the examination goes on.
"""

import os
import signal
import threading
import time
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path

from fedvssl.video.child import ChildGoneError, ChildProcess
from fedvssl.video.errors import BackendUnavailableError
from fedvssl.video.facts import Facts, Trouble

_BYTES_PER_SECOND = 1_000_000  # slower than any decoder, on any machine that is worth using


class ProbePool:
    """Runs probes in parallel.

    Args:
        workers: How many at a time, at least 1.
        timeout: Seconds for a small file; a large one gets a second more for each megabyte.
        module: What the children run.
    """

    def __init__(self, workers: int, timeout: float, module: str = 'fedvssl.video.probe_child') -> None:
        self._workers, self._timeout, self._module = workers, timeout, module
        self._of_thread = threading.local()
        self._busy: set[ChildProcess] = set()

    def allowance(self, size: int) -> float:
        """Returns how many seconds a file of `size` bytes may take."""
        return self._timeout + size / _BYTES_PER_SECOND

    def run(self, files: Mapping[Path, int], quick: bool) -> Generator[tuple[Path, Facts], None, None]:
        """Probes files and yields each with its facts as soon as they are there.

        Whoever stops early closes the iterator (`contextlib.closing`): that kills what is under way.

        Args:
            files: The files with their sizes in bytes.
            quick: See `fedvssl.video.probe.probe`.

        Raises:
            BackendUnavailableError: If a decoder is missing.
        """
        pool = ThreadPoolExecutor(min(self._workers, max(len(files), 1)), thread_name_prefix='probe')
        futures: dict[Future[Facts], Path] = {}
        try:
            for path, size in files.items():
                futures[pool.submit(self._probe, path, size, quick)] = path
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in futures):
                self._kill_busy()
            pool.shutdown()

    def _probe(self, path: Path, size: int, quick: bool) -> Facts:
        child, allowance = self._child(), self.allowance(size)
        self._busy.add(child)
        try:
            header, _ = child.request({'path': str(path.absolute()), 'quick': quick}, allowance, 0)
        except ChildGoneError as error:
            trouble = Trouble.HANGS if isinstance(error.__cause__, TimeoutError) else Trouble.CRASHES
            return Facts(full=not quick, trouble=trouble, reason=str(error), waited=allowance)
        finally:
            self._busy.discard(child)
        if 'unavailable' in header:
            raise BackendUnavailableError(*header['unavailable'])
        if 'error' in header:
            raise RuntimeError(f'{path}: the probe failed: {header["error"]}')
        return Facts(**header['facts'])

    def _child(self) -> ChildProcess:
        """Returns the child of this thread; it is killed when the thread ends."""
        if not hasattr(self._of_thread, 'child'):
            self._of_thread.child = ChildProcess(self._module)
        return self._of_thread.child

    def _kill_busy(self) -> None:
        """Kills the children that are at work; their threads then see them gone."""
        for pid in filter(None, [child.pid for child in set(self._busy)]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
