"""Transcodes for ``transcode_pool.py``, in a process that can be killed. Imports no torch.

A video is worked on for about a second at a time, so that whoever waits can tell slow from hung.
"""

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fedvssl.errors import StorageError
from fedvssl.video.errors import BackendUnavailableError, VideoDecodeError
from fedvssl.video.index import FrameIndex
from fedvssl.video.processes.serve import serve
from fedvssl.video.transcoding.encoding import Encoding
from fedvssl.video.transcoding.transcode import Steps, transcode

_SECONDS_AT_A_TIME = 1.0

Answer = tuple[dict[str, Any], np.ndarray | None]


class Worker:
    """Works on one video at a time."""

    def __init__(self) -> None:
        cv2.setNumThreads(1)
        self._steps: Steps | None = None
        self._frames, self._cpu, self._wall = 0, 0.0, 0.0

    def answer(self, request: dict[str, Any]) -> Answer:
        """Answers ``{source, target, encoding}``, which begins a video, and ``{}``, which goes on with it.

        Returns:
            ``{done, frames}`` if there is more to do, ``{frames, cpu, wall}`` and the frame index at the end;
            ``{refused}``, ``{storage}`` or ``{unavailable}`` if something went wrong.
        """
        if request.get('source'):
            self._cpu, self._wall = time.process_time(), time.monotonic()
            self._steps = transcode(Path(request['source']), Path(request['target']), Encoding(**request['encoding']))
        try:
            return self._go_on()
        except VideoDecodeError as error:
            return {'refused': error.reason}, None
        except StorageError as error:
            return {'storage': str(error)}, None
        except BackendUnavailableError as error:
            return {'unavailable': [error.backend, error.reason, error.remedy]}, None

    def _go_on(self) -> Answer:
        assert self._steps is not None
        until = time.monotonic() + _SECONDS_AT_A_TIME
        try:
            while True:
                done, self._frames = next(self._steps)
                if time.monotonic() >= until:
                    return {'done': done, 'frames': self._frames}, None
        except StopIteration as end:
            return {'frames': self._frames, 'cpu': time.process_time() - self._cpu,
                    'wall': time.monotonic() - self._wall}, _packed(end.value)


def _packed(index: FrameIndex | None) -> np.ndarray | None:
    return None if index is None else np.frombuffer(index.to_bytes(), np.uint8)


if __name__ == '__main__':
    serve(Worker().answer)
