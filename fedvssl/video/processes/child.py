"""A process that serves requests through its pipes, and that is killed when an answer is late.

Started with `subprocess` and not with `multiprocessing`, so that the daemonic workers of a data loader may have one.
The other end is ``serve.py``.
"""

import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from fedvssl.video.errors import BackendUnavailableError, describe
from fedvssl.video.processes import wire

logger = logging.getLogger('fedvssl')

_LONGEST_COMPLAINT = 2000

# Starting Python and importing a decoder takes less than a second of CPU time; the machine may be busy.
_START_SECONDS = 120.0

_PACKAGE_ROOT = Path(__file__).parents[3]


class ChildGoneError(Exception):
    """There is no answer, and the child has been killed: it was late, or died, or answered nonsense."""


class ChildSetupError(Exception):
    """The child does not understand what it is set up with: a class that it cannot import, say."""


class ChildProcess:
    """Runs ``python -m module`` when it is first needed, and talks to it. Belongs to one thread.

    Args:
        module: The module; it calls `fedvssl.video.processes.serve.serve`.
        setup: What every child is sent before its first request, if anything.
    """

    def __init__(self, module: str, setup: Mapping[str, Any] | None = None) -> None:
        self._module, self._setup = module, setup
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._kill: weakref.finalize | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the child, if there is one."""
        return self._process.pid if self._process else None

    def request(self, message: Mapping[str, Any], timeout: float, largest: int) -> tuple[dict[str, Any], np.ndarray]:
        """Sends a request and waits for the answer. The next request after a failure gets a new child.

        Args:
            message: The request.
            timeout: Seconds to wait (the start of a child does not count).
            largest: How many bytes of payload to accept.

        Returns:
            Header, and payload (bytes,), uint8.

        Raises:
            ChildGoneError: If there is no answer.
            ChildSetupError: If the child could not be set up.
            BackendUnavailableError: If it does not start.
        """
        if self._owner != os.getpid():  # this process was forked: the child is another's
            self.close()
        try:
            if self._process is None:
                self._start()
            budget = _Budget(timeout)
            self._send(wire.pack(message), budget)
            return self._receive(budget, largest)
        except TimeoutError as error:
            self.close()
            raise ChildGoneError(f'no answer within {timeout:g} s; the decoder was killed') from error
        except (EOFError, BrokenPipeError) as error:
            raise ChildGoneError(f'the decoder died ({self._cause_of_death()})') from error
        except ValueError as error:
            self.close()
            raise ChildGoneError(f'no valid answer ({describe(error)}); the decoder was killed') from error
        except BaseException:  # KeyboardInterrupt, say: what is left in the pipe answers no later request
            self.close()
            raise

    def close(self) -> None:
        """Kills the child, if there is one."""
        if self._kill is not None:
            self._kill()
        self._process, self._kill = None, None

    def _start(self) -> None:
        """Starts the child, waits until it is ready, and sets it up."""
        with tempfile.TemporaryFile() as complaints:
            self._launch(complaints)
            try:
                self._greet(_Budget(_START_SECONDS))
            except (TimeoutError, EOFError, BrokenPipeError, ValueError) as error:
                cause = self._cause_of_death() if isinstance(error, EOFError | BrokenPipeError) else describe(error)
                self.close()
                complaints.seek(0)
                last = b' '.join(complaints.read()[-_LONGEST_COMPLAINT:].split()).decode(errors='replace')
                raise BackendUnavailableError(self._module, f'its process does not start ({cause}): {last}',
                                              'mend what it complains of') from error

    def _launch(self, complaints: IO[bytes]) -> None:
        places = [str(_PACKAGE_ROOT), *sys.path, os.environ.get('PYTHONPATH', '')]  # what we find, the child finds
        path = os.pathsep.join(filter(None, places))
        # -P: a file in the current directory must not pass for a module.
        process = subprocess.Popen([sys.executable, '-P', '-m', self._module, str(os.getpid())],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, bufsize=0,
                                   env={**os.environ, 'PYTHONPATH': path})
        self._process, self._owner = process, os.getpid()
        self._kill = weakref.finalize(self, _kill, process, self._owner)
        for pipe in _pipes(process):
            os.set_blocking(pipe, False)

    def _greet(self, budget: '_Budget') -> None:
        self._receive(budget, 0)
        if self._setup is not None:
            self._send(wire.pack(self._setup), budget)
            header, _ = self._receive(budget, 0)
            if 'error' in header:
                raise ChildSetupError(header['error'])

    def _send(self, data: bytes, budget: '_Budget') -> None:
        assert self._process is not None
        pipe, _ = _pipes(self._process)
        view = memoryview(data)
        while view:
            budget.wait(pipe, select.POLLOUT)
            view = view[os.write(pipe, view):]

    def _receive(self, budget: '_Budget', largest: int) -> tuple[dict[str, Any], np.ndarray]:
        length, = wire.LENGTH.unpack(self._read(wire.LENGTH.size, budget).tobytes())
        if length > wire.LONGEST_HEADER:
            raise ValueError(f'header of {length} bytes')
        header = wire.unpack(self._read(length, budget).tobytes())
        for level, text in header.pop(wire.LOG, []):
            logger.log(level, '%s', text)
        size = header.get(wire.PAYLOAD, 0)
        if size > largest:
            raise ValueError(f'{size} bytes instead of {largest}')
        return header, self._read(size, budget)

    def _read(self, size: int, budget: '_Budget') -> np.ndarray:
        assert self._process is not None
        _, pipe = _pipes(self._process)
        data = np.empty(size, np.uint8)
        done = 0
        while done < size:
            budget.wait(pipe, select.POLLIN)
            count = os.readv(pipe, [data[done:].data])
            if not count:
                raise EOFError
            done += count
        return data

    def _cause_of_death(self) -> str:
        process = self._process
        assert process is not None
        try:
            code = process.wait(1)
        except subprocess.TimeoutExpired:
            code = 0
        self.close()
        return f'signal {signal.Signals(-code).name}' if code < 0 else f'exit code {code}'


def _pipes(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    assert process.stdin is not None and process.stdout is not None
    return process.stdin.fileno(), process.stdout.fileno()


class _Budget:
    """Seconds that may be waited. Where this process itself does not run (suspended, say), few of them pass."""

    _SLICE = 1.0

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def wait(self, pipe: int, event: int) -> None:
        """Waits until a pipe is ready.

        Raises:
            TimeoutError: If nothing is left.
        """
        poll = select.poll()
        poll.register(pipe, event)
        while True:
            begun, most = time.monotonic(), max(min(self._left, self._SLICE), 0.0)
            ready = poll.poll(most * 1000)
            self._left -= min(time.monotonic() - begun, most)
            if ready:
                return
            if most < self._SLICE:
                raise TimeoutError


def _kill(process: subprocess.Popen[bytes], owner: int) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    if owner == os.getpid():  # not in a fork of the owner
        process.kill()
        process.wait()
