"""Runs decord for ``decord.py``, in a process that can be killed. Imports no torch."""

from pathlib import Path
from typing import Any

import numpy as np

from fedvssl.video.errors import describe
from fedvssl.video.processes.serve import serve

# decord seeks anew for every index that is not the next one; so it decodes everything in between as long as that is
# at most so many times what is wanted.
_DENSE = 4


class DecordServer:
    """Answers ``{path, indices, from_start}`` with ``{frames, shape}`` and the pixels; keeps the last video open."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._video: Any = None

    def __call__(self, request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray | None]:
        """Serves one request."""
        try:
            import decord
        except Exception as error:  # a library that does not load raises OSError or RuntimeError
            return {'unavailable': describe(error)}, None
        status = Path(request['path']).stat()
        key = (request['path'], status.st_ino, status.st_size, status.st_mtime_ns)
        if key != self._key:
            self._key, self._video = (), None
            self._video = decord.VideoReader(request['path'], ctx=decord.cpu(0), num_threads=1)
            self._key = key
        header = {'frames': len(self._video)}
        if not request['indices']:
            return header, None
        read = self._read_from_start if request['from_start'] else self._read
        frames = read(np.array(request['indices']))
        return {**header, 'shape': list(frames.shape)}, frames

    def _read(self, indices: np.ndarray) -> np.ndarray:
        first, last = int(indices[0]), int(indices[-1])
        if last - first >= _DENSE * len(indices):
            return self._video.get_batch(indices.tolist()).asnumpy()
        return self._video.get_batch(list(range(first, last + 1))).asnumpy()[indices - first]

    def _read_from_start(self, indices: np.ndarray) -> np.ndarray:
        wanted, frames = set(indices.tolist()), []
        self._video.seek(0)
        for number in range(int(indices[-1]) + 1):
            frame = self._video.next()
            if number in wanted:
                frames.append(frame.asnumpy())
        return np.stack(frames)


if __name__ == '__main__':
    serve(DecordServer())
