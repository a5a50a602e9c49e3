"""What earlier examinations found out about files, kept in one SQLite file.

A file's facts and digest hold as long as its size and time of modification stay what they were; of a directory, the
number of entries and its own time. Results are written as they come in, about once a second, so that an examination
that is stopped loses little. The cache can be lost without loss: one that is damaged is said and begun anew.
"""

import json
import logging
import os
import sqlite3
import stat
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from fedvssl.errors import StorageError
from fedvssl.video.probing.facts import VERSION, Facts, Trouble

logger = logging.getLogger('fedvssl')

_FLUSH_SECONDS = 1.0
_BYTES_PER_PICTURE = 100_000  # of a directory whose entries have not been looked at
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (path TEXT PRIMARY KEY, signature TEXT, version TEXT, facts TEXT);
CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, signature TEXT, digest TEXT);
"""
# What is no fault of the cache file: SQLITE_BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN.
_CIRCUMSTANCES = frozenset({5, 6, 8, 10, 13, 14})


class Signature(NamedTuple):
    """What tells that a file, or a directory of pictures, has not changed: `size` in bytes or entries."""

    directory: bool
    size: int
    mtime_ns: int

    @property
    def bytes(self) -> int:
        """How large it is, about."""
        return self.size * _BYTES_PER_PICTURE if self.directory else self.size


def signature_of(path: Path) -> Signature | None:
    """Returns the signature of a file or directory, None if it is missing.

    Raises:
        OSError: If it may not be looked at.
    """
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            return Signature(False, status.st_size, status.st_mtime_ns)
        with os.scandir(path) as entries:
            return Signature(True, sum(1 for _ in entries), status.st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError):
        return None


class ProbeCache:
    """Facts and digests by path.

    Args:
        file: The SQLite file; made if it is missing.
        busy_seconds: How long to wait for another process that writes to it.

    Raises:
        StorageError: If it cannot be opened, here, or cannot be read or written, in any of the methods.
    """

    def __init__(self, file: Path, busy_seconds: float = 5.0) -> None:
        self._file, self._busy_seconds = file, busy_seconds
        self._version = f'{VERSION} {_version_of_decoder()}'
        self._new: dict[str, list[tuple[str, ...]]] = {'facts': [], 'digests': []}
        self._flushed = time.monotonic()
        self._connection = self._open()

    def facts(self, path: Path, signature: Signature, quick: bool, patience: float) -> Facts | None:
        """Returns what is known of an unchanged file.

        Args:
            path: The file.
            signature: Its present one.
            quick: Whether facts will do for which only three frames were decoded.
            patience: Seconds that a probe would wait now: a file that was given up after fewer is worth another try.
        """
        row = self._row('SELECT facts FROM facts WHERE path = ? AND signature = ? AND version = ?',
                        str(path), _text(signature), self._version)
        try:
            facts = Facts(**json.loads(row)) if row else None
        except (ValueError, TypeError):  # one line is damaged
            return None
        if facts is None or not (facts.full or quick) or (facts.trouble == Trouble.HANGS and facts.waited < patience):
            return None
        return facts

    def add_facts(self, path: Path, signature: Signature, facts: Facts) -> None:
        """Keeps what a probe found out."""
        self._add('facts', str(path), _text(signature), self._version, json.dumps(asdict(facts)))

    def digest(self, path: Path, signature: Signature) -> str | None:
        """Returns the digest of an unchanged file, if it is known."""
        return self._row('SELECT digest FROM digests WHERE path = ? AND signature = ?', str(path), _text(signature))

    def add_digest(self, path: Path, signature: Signature, digest: str) -> None:
        """Keeps a digest."""
        self._add('digests', str(path), _text(signature), digest)

    def close(self) -> None:
        """Writes what has not been written yet, and closes the file."""
        self._flush()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _add(self, table: str, *values: str) -> None:
        self._new[table].append(values)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        try:
            self._write()
        except sqlite3.DatabaseError as error:
            self._begin_anew(error)
            self._write()
        self._new = {table: [] for table in self._new}
        self._flushed = time.monotonic()

    def _write(self) -> None:
        with self._connection:
            for table, rows in self._new.items():
                if rows:
                    marks = ', '.join('?' * len(rows[0]))
                    self._connection.executemany(f'INSERT OR REPLACE INTO {table} VALUES ({marks})', rows)

    def _row(self, query: str, *values: str) -> Any:
        try:
            row = self._connection.execute(query, values).fetchone()
        except sqlite3.DatabaseError as error:
            self._begin_anew(error)
            return None
        return row[0] if row else None

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            self._discard(error)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, self._busy_seconds)
        try:
            connection.executescript(_TABLES)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_anew(self, error: sqlite3.DatabaseError) -> None:
        self._connection.close()
        self._discard(error)
        self._connection = self._connect()

    def _discard(self, error: sqlite3.DatabaseError) -> None:
        if getattr(error, 'sqlite_errorcode', 1) & 0xff in _CIRCUMSTANCES:
            raise StorageError(f'{self._file}: cannot be read or written: {error}; is another examination running, or '
                               'the disk full?') from error
        logger.warning('%s: the cache is damaged (%s); all files are examined anew', self._file, error)
        for file in (self._file, self._file.with_name(f'{self._file.name}-journal')):
            file.unlink(missing_ok=True)


def _text(signature: Signature) -> str:
    return ' '.join(str(int(value)) for value in signature)


def _version_of_decoder() -> str:
    try:
        return metadata.version('av')
    except metadata.PackageNotFoundError:
        return ''
