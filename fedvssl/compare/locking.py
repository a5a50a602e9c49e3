"""One comparison at a time in a work directory: two would do the same jobs in the same places.

The lock is an open file. Tools that inherit it hold it too, so that it outlives a comparison that was killed for as
long as one of its tools goes on.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fedvssl.errors import ConfigError, StorageError

LOCK_FILE = '.lock'


@contextmanager
def claimed(work_dir: Path) -> Iterator[IO[str]]:
    """Keeps other comparisons out of a work directory, which is made if need be; gives the lock, to be inherited.

    Raises:
        ConfigError: If one is under way there.
        StorageError: If nothing can be written there.
    """
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        lock = (work_dir / LOCK_FILE).open('w')
    except OSError as error:
        raise StorageError(f'{work_dir}: cannot be written: {error.strerror or error}') from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f'{work_dir}: another comparison is running here, or a tool that one left behind when '
                              f'it was killed; wait for it or choose another --work-dir') from error
        yield lock
