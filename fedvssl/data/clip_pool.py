"""Clips that are read in processes of their own, which are killed when they are late.

A decoder can hang for ever on a damaged file, with no way of interrupting it, or take its process with it. Here it
takes a process whose only job was that one sample; the next sample gets a new one. The processes live as long as the
pool and import no torch; what travels back is the finished clips, as uint8.
"""

import base64
import os
import pickle
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from fedvssl.data.clips import ClipReader, Clips
from fedvssl.errors import ConfigError, DataListError, FedVSSLError
from fedvssl.video.errors import BackendUnavailableError, DecoderLostError, VideoDecodeError, describe
from fedvssl.video.processes.child import ChildGoneError, ChildProcess, ChildSetupError

_MOST_BYTES = 1 << 31  # of one sample
_REFUSALS: Mapping[str, type[FedVSSLError]] = {kind.__name__: kind for kind in (ConfigError, DataListError)}


class ClipPool:
    """Reads clips as a `ClipReader` would, in as many processes as there are threads that ask at the same time.

    Args:
        reader: What to do.
        timeout: Seconds for one sample.
        module: What the processes run.

    Raises:
        ConfigError: If a sampler or transform cannot be sent to a process.
    """

    def __init__(self, reader: ClipReader, timeout: float, module: str = 'fedvssl.data.clip_child') -> None:
        self._timeout, self._module = timeout, module
        try:
            recipe = pickle.dumps(reader)
        except Exception as error:  # whatever a class of the user's raises
            raise ConfigError(f'data.workers: the sampler or a transform cannot be sent to a process '
                              f'({describe(error)}); define it in a module, or set data.workers=0') from error
        self._recipe = {'recipe': base64.b64encode(recipe).decode()}
        self._root, self._backend = reader.root, reader.decode.backend
        self._idle: list[ChildProcess] = []
        self._busy: set[ChildProcess] = set()
        self._lock = threading.Lock()
        self._closed = False

    def read(self, video: str, stream: int) -> Clips:
        """Reads one sample; see `ClipSource`.

        Raises:
            DecoderLostError: If the process was late, or died.
            RuntimeError: If the pool is closed, or closed meanwhile.
        """
        child = self._taken()
        try:
            header, pixels = child.request({'video': video, 'stream': stream}, self._timeout, _MOST_BYTES)
        except BackendUnavailableError:
            self._require_open()
            raise
        except ChildGoneError as error:
            self._require_open()
            raise DecoderLostError(self._root / video, self._backend, str(error)) from error
        except ChildSetupError as error:
            raise ConfigError(f'data.workers: the sampler or a transform cannot be sent to a process; define it in a '
                              f'module, or set data.workers=0\n{error}') from error
        finally:
            self._give_back(child)
        _raise_what_it_raised(header)
        shape = tuple(header['shape'])
        if len(shape) != 5 or pixels.size != np.prod(shape):
            raise RuntimeError(f'{video}: {pixels.size} bytes for clips {shape}')
        return Clips(pixels.reshape(shape), header['target'], header['backend'])

    def close(self) -> None:
        """Ends the processes, also those that are at work: whoever waits for one gets an error at once."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for pid in filter(None, [child.pid for child in self._busy]):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for child in idle:
            child.close()

    def _taken(self) -> ChildProcess:
        """Returns a process that has nothing to do, or a new one."""
        with self._lock:
            self._require_open()
            child = self._idle.pop() if self._idle else ChildProcess(self._module, self._recipe)
            self._busy.add(child)
        return child

    def _give_back(self, child: ChildProcess) -> None:
        with self._lock:
            self._busy.discard(child)
            if not self._closed:
                self._idle.append(child)
                return
        child.close()

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError('the pool is closed')


def _raise_what_it_raised(header: Mapping[str, Any]) -> None:
    if 'bad' in header:
        raise (DecoderLostError if header['lost'] else VideoDecodeError)(*header['bad'])
    if 'unavailable' in header:
        raise BackendUnavailableError(*header['unavailable'])
    if 'refused' in header:
        kind, message = header['refused']
        raise _REFUSALS.get(kind, FedVSSLError)(message)
    if 'error' in header:
        raise RuntimeError(header['error'])
