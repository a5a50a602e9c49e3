"""Reads clips for ``clip_pool.py``, in a process that can be killed. Imports no torch."""

import base64
import pickle
import traceback
from contextlib import suppress
from typing import Any

import cv2
import numpy as np

from fedvssl.data.clips import ClipReader
from fedvssl.errors import FedVSSLError
from fedvssl.video.container import load_av
from fedvssl.video.errors import BackendUnavailableError, DecoderLostError, VideoDecodeError
from fedvssl.video.processes.serve import serve


class ClipServer:
    """Is sent ``{recipe}`` once, then answers ``{video, stream}`` with ``{shape, target, backend}`` and the pixels."""

    def __init__(self) -> None:
        self._reader: ClipReader | None = None

    def __call__(self, request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray | None]:
        """Serves one request."""
        try:
            if 'recipe' in request:  # from our own parent
                self._reader = pickle.loads(base64.b64decode(request['recipe']))
                return {}, None
            return self._read(request['video'], request['stream'])
        except VideoDecodeError as error:
            lost = isinstance(error, DecoderLostError)
            return {'bad': [error.path, error.backend, error.reason], 'lost': lost}, None
        except BackendUnavailableError as error:
            return {'unavailable': [error.backend, error.reason, error.remedy]}, None
        except FedVSSLError as error:
            return {'refused': [type(error).__name__, str(error)]}, None
        except Exception:  # a mistake in a sampler or transform: whoever reads about it needs the place
            return {'error': traceback.format_exc()}, None

    def _read(self, video: str, stream: int) -> tuple[dict[str, Any], np.ndarray]:
        assert self._reader is not None
        clips = self._reader.read(video, stream)
        assert isinstance(clips.pixels, np.ndarray)
        target = None if clips.target is None else int(clips.target)
        header = {'shape': list(clips.pixels.shape), 'target': target, 'backend': clips.backend}
        return header, np.ascontiguousarray(clips.pixels)


if __name__ == '__main__':
    cv2.setNumThreads(1)  # there are as many of these processes as there are cores to spare
    # glibc gives big blocks back to the kernel, and each that is asked for again costs page faults, until one has been
    # freed that is bigger.
    np.empty(31 << 20, np.uint8)
    with suppress(BackendUnavailableError):  # the first sample's deadline is not for importing
        load_av()
    serve(ClipServer())
