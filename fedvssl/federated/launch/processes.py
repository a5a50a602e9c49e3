"""Flower's programs as child processes: started with a log of their own, and ended with all that they started.

SuperLink and SuperNode start further processes, some in sessions of their own, and what they leave behind when they are
killed has no parent any more. All of it inherits the environment, so an entry of that tells which processes are ours.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fedvssl.errors import ConfigError

PATIENCE = 3.0  # seconds between asking a process to end and killing it
TAIL = 5  # lines of a log in an error message

_COLOUR = re.compile(r'\x1b\[[0-9;]*m')
_ERROR, _REFERENCE = 'Exit Code:', 'For more information, visit'  # around what Flower says when it gives up

# What Flower does by default, and no run of ours: tell about itself, look for updates, install what an app asks for.
QUIET = dict(FLWR_TELEMETRY_ENABLED='0', FLWR_DISABLE_UPDATE_CHECK='1',
             FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION='1')


def program(name: str) -> str:
    """Returns the path of one of Flower's programs, from the environment that runs us rather than from elsewhere.

    Raises:
        ConfigError: If there is none.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise ConfigError(f'{name}: no such program beside {sys.executable} or on PATH; install flwr')
    return found


def quiet_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns an environment in which Flower's programs find each other and do nothing that nobody asked for."""
    environment = {**(os.environ if base is None else base), **QUIET}
    environment['PATH'] = os.pathsep.join([str(Path(sys.executable).parent), environment.get('PATH', os.defpath)])
    return environment


class Daemon:
    """A program that runs until it is told to end.

    Args:
        name: For messages.
        command: Program and arguments.
        environment: Its environment.
        log: Where its output goes.
    """

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open('ab') as stream:
            self._begin = stream.tell()
            # A session of its own: Ctrl-C is for whoever started us, who ends it in order.
            self.process = subprocess.Popen(command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=stream,
                                            stderr=subprocess.STDOUT, start_new_session=True)

    @property
    def ended(self) -> int | None:
        """Exit code, None while it runs."""
        return self.process.poll()

    def output(self) -> str:
        """Returns what it has logged since it was started."""
        with self.log.open(errors='replace') as stream:
            stream.seek(self._begin)
            return stream.read()

    def tail(self) -> str:
        """Returns the end of the log: from Flower's last error on, if there is one."""
        text = _COLOUR.sub('', self.output())
        text = text[max(text.rfind(_ERROR), 0):].partition(_REFERENCE)[0]
        return '\n'.join([line.strip() for line in text.splitlines() if line.strip()][-TAIL:])

    def ask_to_end(self) -> None:
        """Sends SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kills the program, though not what it started."""
        self.process.kill()
        self.process.wait()


def end(daemons: Iterable[Daemon], mark: str) -> None:
    """Ends programs and everything they started.

    Args:
        daemons: The programs.
        mark: What the environment of all these processes contains, and no other's.
    """
    daemons = list(daemons)
    for daemon in daemons:
        daemon.ask_to_end()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and (any(d.ended is None for d in daemons) or marked(mark)):
        time.sleep(0.05)
    for daemon in daemons:
        daemon.kill()
    deadline = time.monotonic() + PATIENCE  # one that waits for a dead disk cannot be killed
    while (left := marked(mark)) and time.monotonic() < deadline:  # one that was killed may just have started another
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Keeps a second Ctrl-C waiting until everything is cleaned up."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def marked(mark: str) -> list[int]:
    """Returns the ids of the living processes whose environment contains a text; none where there is no ``/proc``."""
    found = []
    for path in Path('/proc').glob('[0-9]*/environ'):
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is somebody else's
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return [pid for pid in found if pid != os.getpid()]
