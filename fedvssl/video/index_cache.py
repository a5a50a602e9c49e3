"""The frame indices of a data set, and the tables of its zips, kept in one SQLite file beside its videos.

Making an index takes one pass over a file's packets; where frames have to be counted (XviD, that is most of UCF-101),
all of them are decoded. An index holds as long as the file's size and time of modification stay what they were. The
cache can be lost without loss, is shared by all processes that read the set, and never stands in the way: where it
cannot be read or written, indices are made each time, and that is said once.
"""

import logging
import os
import sqlite3
import threading
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

logger = logging.getLogger('fedvssl')

FILE_NAME = '.frame-index.sqlite'
VERSION = 1
"""To be raised whenever an index means something else than before: kept ones are then no longer taken."""

_BUSY_SECONDS = 2.0
_TABLE = """
CREATE TABLE IF NOT EXISTS indices (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, version TEXT, data BLOB)
"""


class Index(Protocol):
    """What can be kept."""

    def to_bytes(self) -> bytes:
        """Returns it as bytes."""

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Returns what `to_bytes` wrote, or raises ValueError."""


Kept = TypeVar('Kept', bound=Index)


class IndexCache:
    """Frame indices by path. Can be pickled, forked and used by several threads.

    Args:
        root: Directory of the data set; paths in the cache are relative to it, so that it can be moved.
        file: The SQLite file; by default `FILE_NAME` in `root`. Made if it is missing.
    """

    def __init__(self, root: Path, file: Path | None = None) -> None:
        self._root = root.absolute()
        self.file = (file or root / FILE_NAME).absolute()
        self._version = f'{VERSION} {_version_of_demuxer()}'
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._connection: sqlite3.Connection | None = None
        self._usable = True

    def get(self, path: Path, kind: type[Kept]) -> Kept | None:
        """Returns what is kept of an unchanged file, if it is of this kind."""
        signature = _signature(path)
        if signature is None:
            return None
        row = self._execute('SELECT data FROM indices WHERE path = ? AND size = ? AND mtime_ns = ? AND version = ?',
                            self._key(path), *signature, self._version)
        try:
            return kind.from_bytes(row[0]) if row and isinstance(row[0], bytes) else None
        except ValueError:  # one row is damaged, or of another kind
            return None

    def put(self, path: Path, index: Index) -> None:
        """Keeps an index or a table."""
        signature = _signature(path)
        if signature is not None:
            self._execute('INSERT OR REPLACE INTO indices VALUES (?, ?, ?, ?, ?)', self._key(path), *signature,
                          self._version, index.to_bytes())

    def close(self) -> None:
        """Closes the file; it is opened again when it is needed."""
        with self._lock:
            if self._connection is not None and self._owner == os.getpid():
                self._connection.close()
            self._connection = None

    def __getstate__(self) -> dict[str, Any]:
        return dict(_root=self._root, file=self.file, _version=self._version)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._begin()

    def _key(self, path: Path) -> str:
        return os.path.relpath(path.absolute(), self._root)

    def _execute(self, statement: str, *values: Any) -> Any:
        """Runs a statement and returns its first row; None if the cache cannot be used."""
        if self._owner != os.getpid():  # SQLite's connections do not survive a fork
            self._begin()
        with self._lock:
            if not self._usable:
                return None
            try:
                return self._connected().execute(statement, values).fetchone()
            except sqlite3.DatabaseError as error:
                self._give_up(error)
                return None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            # Without waiting for the disk: what a power failure spoils can be made again.
            self._connection = sqlite3.connect(self.file, _BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._connection.execute('PRAGMA synchronous = OFF')
            self._connection.execute(_TABLE)
        return self._connection

    def _give_up(self, error: sqlite3.DatabaseError) -> None:
        code = getattr(error, 'sqlite_errorcode', 0) & 0xff
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):  # another process writes: this index is made again
            return
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            logger.warning('%s: the cache of frame indices is damaged (%s) and begun anew', self.file, error)
            for file in (self.file, self.file.with_name(f'{self.file.name}-journal')):
                file.unlink(missing_ok=True)
        else:
            logger.info('%s: no cache of frame indices (%s); they are made each time a video is opened', self.file,
                        error)
            self._usable = False


def _signature(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _version_of_demuxer() -> str:
    try:
        return metadata.version('av')
    except metadata.PackageNotFoundError:
        return ''
