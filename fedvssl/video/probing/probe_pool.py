"""Probes many files at once, each in a process that is killed when a file hangs it (``probe_child.py``).

What a file does to a decoder is thus a fact about that file, and the examination goes on.
"""

from collections.abc import Generator, Mapping
from functools import partial
from pathlib import Path

from fedvssl.video.errors import BackendUnavailableError
from fedvssl.video.probing.facts import Facts, Trouble
from fedvssl.video.processes.child import ChildGoneError, ChildProcess
from fedvssl.video.processes.child_pool import ChildPool

_BYTES_PER_SECOND = 1_000_000  # slower than any decoder, on any machine that is worth using


class ProbePool:
    """Runs probes in parallel.

    Args:
        workers: How many at a time, at least 1.
        timeout: Seconds for a small file; a large one gets a second more for each megabyte.
        module: What the children run.
    """

    def __init__(self, workers: int, timeout: float, module: str = 'fedvssl.video.probing.probe_child') -> None:
        self._timeout, self._pool = timeout, ChildPool(workers, module)

    def allowance(self, size: int) -> float:
        """Returns how many seconds a file of `size` bytes may take."""
        return self._timeout + size / _BYTES_PER_SECOND

    def run(self, files: Mapping[Path, int], quick: bool) -> Generator[tuple[Path, Facts], None, None]:
        """Probes files and yields each with its facts as soon as they are there; see `ChildPool.run`.

        Args:
            files: The files with their sizes in bytes.
            quick: See `fedvssl.video.probing.probe.probe`.

        Raises:
            BackendUnavailableError: If a decoder is missing.
        """
        probed = self._pool.run(files.items(), partial(self._probe, quick))
        try:
            for (path, _), facts in probed:
                yield path, facts
        finally:
            probed.close()

    def _probe(self, quick: bool, child: ChildProcess, file: tuple[Path, int]) -> Facts:
        path, size = file
        allowance = self.allowance(size)
        try:
            header, _ = child.request({'path': str(path.absolute()), 'quick': quick}, allowance, 0)
        except ChildGoneError as error:
            trouble = Trouble.HANGS if isinstance(error.__cause__, TimeoutError) else Trouble.CRASHES
            return Facts(full=not quick, trouble=trouble, reason=str(error), waited=allowance)
        if 'unavailable' in header:
            raise BackendUnavailableError(*header['unavailable'])
        if 'error' in header:
            raise RuntimeError(f'{path}: the probe failed: {header["error"]}')
        return Facts(**header['facts'])
