"""The directory of prepared videos: what is in it already, and how something gets there.

    DST/annotations.csv, DST/CLASS/video.mp4 ...    what a config reads
    DST/.frame-index.sqlite                         the frame indices, so that no reader has to make them
    DST/.prepared.jsonl                             how the videos were encoded; then a line for each that is done
    DST/.preparing/                                 videos that are being written

A video is written aside, checked, brought to the disk and only then moved to its name. The line about it follows; where
a run is killed in between, the video is made once more.
"""

import fcntl
import json
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, Self

from fedvssl.commit import fsync, fsync_directory
from fedvssl.data.prepare.video_record import RECORD_FILE, Entries, read_record, recorded_settings, settings_of
from fedvssl.data.prepare.video_sources import Source
from fedvssl.errors import ConfigError, StorageError
from fedvssl.video.index_cache import IndexCache
from fedvssl.video.transcoding.encoding import Encoding
from fedvssl.video.transcoding.transcode_pool import Outcome

_STAGING = '.preparing'


class Workplace(ABC):
    """Where videos are written, and what is done already.

    Args:
        out: Directory of prepared videos.
        entries: What its record says.
        staging: Where videos are written first.
    """

    def __init__(self, out: Path, entries: Entries, staging: Path) -> None:
        self._out, self._entries, self._staging = out, entries, staging

    def has(self, source: Source) -> bool:
        """Returns whether an unchanged video is done, and what was made of it is still there."""
        entry = self._entries.get(source.name, {})
        try:
            return (entry.get('signature') == list(source.signature) and entry.get('target') == source.target
                    and (self._out / source.target).stat().st_size == entry.get('size'))
        except OSError:
            return False

    def makers(self) -> dict[str, str]:
        """Returns the name of the source of each prepared video, by what that is called."""
        return {entry['target']: name for name, entry in self._entries.items() if 'target' in entry}

    def place(self, source: Source) -> Path:
        """Returns the name under which a video is to be written first."""
        digest = blake2b(source.name.encode(), digest_size=16).hexdigest()
        return self._staging / f'{digest}{Path(source.target).suffix}'

    @abstractmethod
    def keep(self, source: Source, outcome: Outcome) -> int:
        """Takes over a video that was written; returns its size in bytes."""

    @abstractmethod
    def close(self) -> None:
        """Removes what is left aside."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Store(Workplace):
    """A directory of prepared videos, for one process at a time.

    Args:
        out: The directory; made if it is missing.
        encoding: How its videos are stored.

    Raises:
        ConfigError: If it holds something else, or videos that are stored in another way, or another run is writing.
        StorageError: If it cannot be written, here or in any of the methods.
    """

    def __init__(self, out: Path, encoding: Encoding) -> None:
        super().__init__(out, {}, out / _STAGING / str(os.getpid()))
        self._folders = {out}
        with _writing(out):
            out.mkdir(parents=True, exist_ok=True)
            _refuse_foreign(out)
            self._record: IO[bytes] = (out / RECORD_FILE).open('ab')
        try:
            self._lock()
            self._entries = read_record(out, encoding)
            with _writing(out):
                shutil.rmtree(out / _STAGING, ignore_errors=True)  # of runs that were killed
                self._staging.mkdir(parents=True, exist_ok=True)
                self._begin_record(encoding)
        except BaseException:
            self._record.close()
            raise
        self._indices = IndexCache(out)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._record, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f'{self._out}: another run is writing there; wait for it, or choose another '
                              'directory') from error

    def _begin_record(self, encoding: Encoding) -> None:
        known = (self._out / RECORD_FILE).read_bytes()
        if known and not known.endswith(b'\n'):  # the last line was not finished
            self._record.write(b'\n')
        if recorded_settings(known) is None:
            self._write({'settings': settings_of(encoding)})

    def keep(self, source: Source, outcome: Outcome) -> int:
        """Moves a video that was written to its own name, and notes that it is done; returns its size."""
        final, staged = self._out / source.target, self.place(source)
        with _writing(final):
            size = staged.stat().st_size
            final.parent.mkdir(parents=True, exist_ok=True)
            staged.replace(final)
            self._folders.add(final.parent)
            if outcome.index is not None:
                self._indices.put(final, outcome.index)
            entry = {'path': source.name, 'signature': list(source.signature), 'target': source.target, 'size': size,
                     'frames': outcome.frames}
            self._write(entry)
        self._entries[source.name] = entry
        return size

    def _write(self, line: dict[str, Any]) -> None:
        self._record.write(json.dumps(line).encode() + b'\n')
        self._record.flush()

    def close(self) -> None:
        """Brings to the disk what is done, and lets others in."""
        self._indices.close()
        shutil.rmtree(self._out / _STAGING, ignore_errors=True)
        try:
            with _writing(self._out):
                fsync(self._record.fileno())
                for folder in sorted(self._folders):
                    fsync_directory(folder)
        finally:
            with suppress(OSError):  # what could not be written before
                self._record.close()


class Scratch(Workplace):
    """Stands in for a `Store` where nothing is to be kept.

    Args:
        out: Directory of prepared videos; only looked at.
        encoding: How its videos are stored.

    Raises:
        ConfigError: If it holds something else, or videos that are stored in another way.
        StorageError: If it cannot be read, or there is no room for temporary files.
    """

    def __init__(self, out: Path, encoding: Encoding) -> None:
        with _writing(out):
            _refuse_foreign(out)
            entries = read_record(out, encoding)
            self._directory = tempfile.TemporaryDirectory(prefix='fedvssl-')
        super().__init__(out, entries, Path(self._directory.name))

    def keep(self, source: Source, outcome: Outcome) -> int:
        """Removes a video that was written; returns its size in bytes."""
        place = self.place(source)
        size = place.stat().st_size
        place.unlink()
        return size

    def close(self) -> None:
        """Removes what is left."""
        self._directory.cleanup()


def _refuse_foreign(out: Path) -> None:
    if out.is_dir() and not (out / RECORD_FILE).exists() and any(out.iterdir()):
        raise ConfigError(f'{out}: is not empty, and not a directory of prepared videos; choose another directory')


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f'{path}: cannot be written ({error.strerror or error}); make room or choose another '
                           'directory, then run again: it goes on from here') from error
