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

from fedvssl.errors import ConfigError

logger = logging.getLogger('fedvssl')

FILE_NAME = '.frame-index.sqlite'
VERSION = 1
"""To be raised whenever an index means something else than before: kept ones are then no longer taken."""

_MARK, _MARK_AT = 0x66765649, 68  # SQLite's application id of our files ("fvVI"), and where it stands
_BUSY_SECONDS = 2.0
_TABLE = """
CREATE TABLE IF NOT EXISTS indices (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, version TEXT, data BLOB)
"""


Signature = tuple[int, int]
"""Size, and time of modification in nanoseconds."""


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

    Raises:
        ConfigError: If there is a file of that name which is none of ours.
    """

    def __init__(self, root: Path, file: Path | None = None) -> None:
        self._root = root.absolute()
        self.file = (file or root / FILE_NAME).absolute()
        self._version = f'{VERSION} {_version_of_demuxer()}'
        if not self._is_ours():
            raise ConfigError(f'data.decode.index: {self.file} is there and no cache of frame indices; choose another '
                              'file')
        self._begin()

    def _is_ours(self) -> bool:
        """Whether the file may be written to, and thrown away should it be damaged."""
        if self.file.name == FILE_NAME:
            return True
        try:
            with self.file.open('rb') as file:
                head = file.read(_MARK_AT + 4)
        except OSError:  # not there; or it cannot be used, which will be said
            return True
        return not head or (head.startswith(b'SQLite format 3\0') and head[_MARK_AT:] == _MARK.to_bytes(4))

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._connection: sqlite3.Connection | None = None
        self._usable = self._writable = True

    def get(self, path: Path, kind: type[Kept]) -> Kept | None:
        """Returns what is kept of an unchanged file, if it is of this kind."""
        signature = signature_of(path)
        if signature is None:
            return None
        row = self._execute('SELECT data FROM indices WHERE path = ? AND size = ? AND mtime_ns = ? AND version = ?',
                            self._key(path), *signature, self._version)
        try:
            return kind.from_bytes(row[0]) if row and isinstance(row[0], bytes) else None
        except ValueError:  # one row is damaged, or of another kind
            return None

    def put(self, path: Path, index: Index, signature: Signature | None = None) -> None:
        """Keeps an index or a table.

        Args:
            path: The file.
            index: What there is to keep.
            signature: What `signature_of` said before it was made; a file that has changed since is left alone.
        """
        now = signature_of(path)
        if now is not None and now == (signature or now) and self._writable:
            self._execute('INSERT OR REPLACE INTO indices VALUES (?, ?, ?, ?, ?)', self._key(path), *now,
                          self._version, index.to_bytes())

    def close(self) -> None:
        """Closes the file; it is opened again when it is needed."""
        if self._owner != os.getpid():  # another thread of the parent may have held the lock
            self._begin()
        with self._lock:
            self._disconnect()

    def __getstate__(self) -> dict[str, Any]:
        return dict(_root=self._root, file=self.file, _version=self._version)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._begin()

    def _key(self, path: Path) -> bytes:
        return os.fsencode(os.path.relpath(path.absolute(), self._root))  # not every name is UTF-8

    def _execute(self, statement: str, *values: Any) -> Any:
        """Runs a statement and returns its first row; None if the cache cannot be used."""
        if self._owner != os.getpid():  # SQLite's connections do not survive a fork
            self._begin()
        with self._lock:
            for _ in range(2):  # a file that was deleted, or is damaged, is made anew
                if not self._usable:
                    return None
                try:
                    return self._connected().execute(statement, values).fetchone()
                except sqlite3.DatabaseError as error:
                    self._disconnect()
                    if not self._mended(error):
                        return None
            return None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            # Without waiting for the disk: what a power failure spoils can be made again.
            connection = sqlite3.connect(self.file, _BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                connection.execute('PRAGMA synchronous = OFF')
                if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'indices'").fetchone():
                    connection.execute(f'PRAGMA application_id = {_MARK}')
                    connection.execute(_TABLE)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _mended(self, error: sqlite3.DatabaseError) -> bool:
        """Does what can be done about an error, and returns whether it is worth trying again."""
        whole = getattr(error, 'sqlite_errorcode', 0)
        code = whole & 0xff
        if whole == sqlite3.SQLITE_READONLY_DBMOVED:
            return True
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT) and self._is_ours():
            logger.warning('%s: the cache of frame indices is damaged (%s) and begun anew', self.file, error)
            try:
                for file in (self.file, self.file.with_name(f'{self.file.name}-journal')):
                    file.unlink(missing_ok=True)
            except OSError:
                self._usable = False
            return self._usable
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL):
            self._writable = False
            what = 'cannot be written'
        else:  # where another process holds it for seconds, or a disk fails, each try would take as long again
            self._usable = False
            what = 'cannot be used'
        logger.log(logging.INFO if self.file.name == FILE_NAME else logging.WARNING,
                   '%s: the cache of frame indices %s (%s); they are made each time a video is opened', self.file,
                    what, error)
        return False


def signature_of(path: Path) -> Signature | None:
    """Returns what tells that a file has not changed; None if there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return None
    return status.st_size, status.st_mtime_ns


def _version_of_demuxer() -> str:
    try:
        return metadata.version('av')
    except metadata.PackageNotFoundError:
        return ''
