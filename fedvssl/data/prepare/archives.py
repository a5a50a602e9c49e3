"""Unpacks archives of videos below a directory, so that it can be interrupted and run again.

Nothing is written from what is damaged: a .tar, whose damage may show at its very end, is read through before the first
member is written, so it is read twice (and again after an interruption; a journal of what came from an unverified
archive would spare that, and leave bad videos behind whenever the second run does not come); a member of a .zip has its
own checksum, and a .rar is unpacked aside as a whole. Only a plain .tar has no checksum of its data.

Every member goes to a temporary name, to the disk and only then to its own name. What is there is compared, and written
again only where it differs: so an interrupted run goes on, and an intact archive repairs what a bad one left. What was
finished is remembered by name, size and time, and not opened again. An archive inside an archive (HMDB's holds one .rar
a class) is unpacked too, except a .zip: that holds the frames of one video and is taken as it is.
"""

import contextlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import IO

from fedvssl.commit import fsync, fsync_directory, write_json
from fedvssl.data.prepare.members import Member, kind_of, members, reporting_damage, verify
from fedvssl.data.prepare.walk import IMAGES, VIDEOS
from fedvssl.errors import DataListError, StorageError

TAKEN = VIDEOS | {*IMAGES, '.zip'}
MEMORY = '.fedvssl-unpacked.json'
_STAGING = '.unpacking'
_DEEPEST = 3  # archives in archives
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Unpacked:
    """What became of one archive.

    Attributes:
        archive: The file.
        known: Whether it was finished before and left alone.
        written: Files written now.
        there: Files that were there already, the same.
        left_out: Files of other kinds, not taken.
    """

    archive: Path
    known: bool = False
    written: int = 0
    there: int = 0
    left_out: int = 0

    def __str__(self) -> str:
        if self.known:
            return f'{self.archive}: was unpacked before; to unpack it again, delete {MEMORY}'
        return f'{self.archive}: {self.written} files written, {self.there} were there, {self.left_out} left out'


def is_archive(file: Path) -> bool:
    """Returns whether it is a file whose name says that it can be unpacked."""
    return file.is_file() and bool(kind_of(file.name))


def unpack(archives: Sequence[Path], directory: Path, suffixes: Collection[str] = TAKEN) -> Iterator[Unpacked]:
    """Unpacks one archive after another and yields what became of each.

    Args:
        archives: Files ``.zip``, ``.tar`` (``.gz``, ``.bz2``, ``.xz``) or ``.rar``.
        directory: Where to; made if it is not there.
        suffixes: Kinds of files that are taken.

    Raises:
        DataListError: If an archive is missing, damaged or unsafe, or nothing installed can unpack it.
        StorageError: If something cannot be written.
    """
    for archive in archives:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            work = _Work(directory, suffixes)
            known = work.unpack(archive, (archive.name,))
            yield Unpacked(archive, known, work.counts['written'], work.counts['there'], work.counts['left out'])
        except OSError as error:
            raise StorageError(f'{archive}: could not be unpacked into {directory}: {error}') from error


@dataclass
class _Work:
    """Unpacks one archive and those inside it."""

    directory: Path
    suffixes: Collection[str]
    counts: Counter[str] = field(default_factory=Counter)
    safe_folders: set[Path] = field(default_factory=set)
    taken_folders: set[Path] = field(default_factory=set)

    def unpack(self, archive: Path, key: tuple[str, ...], below: tuple[str, ...] = (), depth: int = 0) -> bool:
        """Unpacks an archive below a directory; returns whether it was known already.

        Args:
            archive: The file.
            key: What it is remembered as: its name; an inner one's begins with the outer's.
            below: Where an inner archive lay in the outer one, and its files go.
            depth: How many archives it is in.
        """
        name = '/'.join(key)
        stamp = _stamp(archive, name, depth) if archive.is_file() else ''
        if stamp in _recall(self.directory):
            return True
        if depth > _DEEPEST:
            raise DataListError(f'{name}: archives in archives, more than {_DEEPEST} deep; unpack it by hand')
        staging = self.directory / _STAGING / _digest(name)
        try:
            with reporting_damage(archive):
                verify(archive)
                inner = self._place_all(members(archive, staging / 'rar'), below, staging / 'inner')
            for parts in inner:
                self.unpack(staging.joinpath('inner', *parts), key + parts, below + parts[:-1], depth + 1)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            with contextlib.suppress(OSError):  # there may be that of another archive, which was killed
                (self.directory / _STAGING).rmdir()
        self._sync_folders()
        write_json(self.directory / MEMORY, sorted(_recall(self.directory) | {stamp}))
        return False

    def _place_all(self, found: Iterable[Member], below: tuple[str, ...], inner: Path) -> list[tuple[str, ...]]:
        """Puts all members where they belong, archives below `inner`; returns the paths of the latter."""
        archives = []
        for member in found:
            name = member.parts[-1]
            if Path(name).suffix.lower() in self.suffixes:
                self.counts[self._place(member, self.directory.joinpath(*below, *member.parts))] += 1
            elif kind_of(name) in ('rar', 'tar'):
                self._place(member, inner.joinpath(*member.parts))
                archives.append(member.parts)
            else:
                self.counts['left out'] += 1
        return archives

    def _place(self, member: Member, target: Path) -> str:
        self.taken_folders.add(target.parent)
        comparable = target.is_file() and not target.is_symlink() and target.stat().st_size == member.size
        with member.open() as stream:
            # No second time: to go back in a compressed .tar is to decompress it from its beginning.
            same, rest = _in_common(stream, target) if comparable else (0, b'')
            if comparable and same == member.size:
                return 'there'
            self._make_folder(target.parent)
            if member.file is not None:
                fsync(stream.fileno())
                member.file.replace(target)
                return 'written'
            temporary = target.with_name(f'.tmp-{_digest(target.name)}')
            try:
                with temporary.open('wb') as file:
                    if same:
                        _copy_beginning(target, file, same)
                    file.write(rest)
                    shutil.copyfileobj(stream, file, _CHUNK)
                    if file.tell() != member.size:
                        raise EOFError(f'{"/".join(member.parts)} is not complete')
                    file.flush()
                    fsync(file.fileno())
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        return 'written'

    def _make_folder(self, folder: Path) -> None:
        if folder not in self.safe_folders:
            if not folder.resolve().is_relative_to(self.directory.resolve()):
                raise DataListError(f'{folder}: leads out of {self.directory} through a link; remove the link')
            folder.mkdir(parents=True, exist_ok=True)
            self.safe_folders.add(folder)

    def _sync_folders(self) -> None:
        """Brings to the disk under which names the files lie."""
        folders = {folder for taken in self.taken_folders for folder in (taken, *taken.parents)
                   if folder.is_relative_to(self.directory) and folder.is_dir()}  # those of inner archives are gone
        for folder in sorted(folders):
            fsync_directory(folder)


def _in_common(stream: IO[bytes] | io.FileIO, file: Path) -> tuple[int, bytes]:
    """Returns how many bytes a stream begins with that the file does too, and what else was read of the stream."""
    same = 0
    with file.open('rb') as other:
        while chunk := stream.read(_CHUNK):
            if chunk != other.read(len(chunk)):
                return same, chunk
            same += len(chunk)
    return same, b''


def _copy_beginning(source: Path, target: IO[bytes], length: int) -> None:
    with source.open('rb') as file:
        while length:
            length -= target.write(file.read(min(length, _CHUNK)))


def _digest(name: str) -> str:
    return blake2b(name.encode(), digest_size=8).hexdigest()


def _stamp(archive: Path, name: str, depth: int) -> str:
    """Returns what an archive is remembered by; an inner one has no time but that of its unpacking."""
    status = archive.stat()
    return f'{name} {status.st_size} {0 if depth else status.st_mtime_ns}'


def _recall(directory: Path) -> set[str]:
    try:
        known = json.loads((directory / MEMORY).read_text())
    except (FileNotFoundError, ValueError):
        return set()  # nothing is lost: what is there is not written again
    return {stamp for stamp in known if isinstance(stamp, str)} if isinstance(known, list) else set()
