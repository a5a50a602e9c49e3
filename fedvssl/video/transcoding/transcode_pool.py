"""Transcodes many videos at once, each in a process that is killed when a file hangs it (``transcode_child.py``)."""

import time
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedvssl.errors import StorageError
from fedvssl.video.errors import BackendUnavailableError
from fedvssl.video.index import FrameIndex
from fedvssl.video.processes.child import ChildGoneError, ChildProcess
from fedvssl.video.processes.child_pool import ChildPool
from fedvssl.video.transcoding.encoding import Encoding

# Slower than any decoder on any machine that is worth using: to count the frames of a file may be to decode it.
_BYTES_PER_SECOND = 250_000
_SECONDS_PER_FRAME = 0.5
_LARGEST_INDEX = 64 << 20


class Job(NamedTuple):
    """A video to transcode.

    Attributes:
        source: What `open_video` takes.
        target: The file to write.
        size: Of the source, in bytes.
    """

    source: Path
    target: Path
    size: int


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        refused: Why there is no new file; empty if there is one.
        frames: How many it has.
        cpu: Seconds of CPU time it took.
        wall: Seconds it took.
        index: Its frame index, if its format has one.
    """

    refused: str = ''
    frames: int = 0
    cpu: float = 0.0
    wall: float = 0.0
    index: FrameIndex | None = None


class TranscodePool:
    """Runs jobs in parallel.

    A file is given up when nothing has come of it for `timeout` seconds (while it is opened, and its frames counted,
    four more for each megabyte), or when it takes more than half a second a frame in all.

    Args:
        encoding: How to store the videos.
        workers: How many at a time, at least 1.
        timeout: In seconds.
        module: What the children run.
    """

    def __init__(self, encoding: Encoding, workers: int, timeout: float,
                 module: str = 'fedvssl.video.transcoding.transcode_child') -> None:
        self._encoding, self._timeout = asdict(encoding), timeout
        self._pool = ChildPool(workers, module)

    def run(self, jobs: Iterable[Job]) -> Generator[tuple[Job, Outcome], None, None]:
        """Yields each job with its outcome as soon as it is there; see `ChildPool.run`.

        Raises:
            StorageError: If something cannot be written.
            BackendUnavailableError: If a decoder or an encoder is missing.
        """
        return self._pool.run(jobs, self._transcode)

    def _transcode(self, child: ChildProcess, job: Job) -> Outcome:
        try:
            header, payload = self._answer(child, job)
        except ChildGoneError as error:
            job.target.unlink(missing_ok=True)
            return Outcome(str(error))
        if 'unavailable' in header:
            raise BackendUnavailableError(*header['unavailable'])
        if 'storage' in header:
            raise StorageError(header['storage'])
        refused = header.get('refused') or header.get('error', '')
        if refused:
            return Outcome(refused)
        index = FrameIndex.from_bytes(payload.tobytes()) if payload.size else None
        return Outcome('', header['frames'], header['cpu'], header['wall'], index)

    def _answer(self, child: ChildProcess, job: Job) -> tuple[dict[str, Any], np.ndarray]:
        """Has a child work on a job step by step; returns its last answer."""
        request = {'source': str(job.source.absolute()), 'target': str(job.target.absolute()),
                   'encoding': self._encoding}
        header, payload = child.request(request, self._timeout + job.size / _BYTES_PER_SECOND, _LARGEST_INDEX)
        started, most = time.monotonic(), self._timeout + header.get('frames', 0) * _SECONDS_PER_FRAME
        while 'done' in header:
            if time.monotonic() - started > most:
                child.close()
                raise ChildGoneError(f'only {header["done"]} of {header["frames"]} frames done after {most:.0f} s; the '
                                     'decoder was killed')
            header, payload = child.request({}, self._timeout, _LARGEST_INDEX)
        return header, payload
