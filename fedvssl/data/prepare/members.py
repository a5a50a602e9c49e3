"""What is in an archive, one member after another, each checked before anybody writes it.

Archives come from strangers. A name that is absolute or climbs with ``..``, a link and a device are refused by name, as
tarfile's ``data`` filter refuses them; directories and hidden files (``._name``, ``__MACOSX``) are passed over.

Damage shows at different times: a .zip has a checksum for each member, a .rar was unpacked as a whole by a program that
checks it, but a compressed .tar has its checksum at the very end, and a plain .tar only a block that says it is all.
"""

import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Self

from fedvssl.data.list_files import UNPRINTABLE, quoted
from fedvssl.data.prepare import rar
from fedvssl.errors import DataListError

TARS = ('.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tbz2', '.tar.xz', '.txz')
_OUTSIDE = re.compile(r'[/\\]|[A-Za-z]:')
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive.

    Attributes:
        parts: Its path, free of ``..``.
        size: Its size, unpacked.
        open: Opens it; for as long as the next member has not been asked for.
        file: Where it already lies unpacked, ready to be moved; None if it must be written.
    """

    parts: tuple[str, ...]
    size: int
    open: Callable[[], IO[bytes] | io.FileIO]
    file: Path | None = None


def kind_of(name: str) -> str:
    """Returns ``'zip'``, ``'tar'``, ``'rar'``, or '' for what is no archive."""
    lower = name.lower()
    if lower.endswith(TARS):
        return 'tar'
    return lower.rpartition('.')[2] if lower.endswith(('.zip', '.rar')) else ''


def members(archive: Path, scratch: Path) -> Iterator[Member]:
    """Yields the regular files of an archive.

    Args:
        archive: The file.
        scratch: Directory that a .rar may be unpacked to; must not exist yet.

    Raises:
        DataListError: If the archive is missing, encrypted or not to be trusted, or if there is no program to unpack a
            .rar.
        Exception: If it is damaged; see `reporting_damage`.
    """
    if not archive.is_file():
        raise DataListError(f'{archive}: no such archive; check the path')
    kind = kind_of(archive.name)
    if not kind:
        raise DataListError(f'{archive}: not an archive that can be unpacked; known are .zip, {", ".join(TARS)}, .rar')
    yield from {'zip': _zip_members, 'tar': _tar_members, 'rar': _rar_members}[kind](archive, scratch)


def verify(archive: Path) -> None:
    """Reads a .tar to its end and writes nothing; others are verified as their members are read.

    Raises:
        DataListError: If it is not to be trusted.
        Exception: If it is damaged; see `reporting_damage`.
    """
    if kind_of(archive.name) == 'tar' and archive.is_file():
        deque(_tar_members(archive, archive), maxlen=0)


@contextmanager
def reporting_damage(archive: Path) -> Iterator[None]:
    """Turns what the archive modules raise, when opening an archive and when reading a member, into `DataListError`."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        # What gzip and bz2 say of damaged data is an OSError too, but without the number that a full disk has.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).split(':\n')[0]  # tarfile goes on with what each decompressor says
        raise DataListError(f'{archive}: damaged or not complete ({reason}); download it again') from error


def _zip_members(archive: Path, _: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as file:
        safe = [(_safe_parts(archive, info.filename, _zip_kind(info)), info) for info in file.infolist()]
        for parts, info in safe:
            if parts and info.flag_bits & 1:
                raise DataListError(f'{archive}: is encrypted; unpack it by hand')
            if parts:
                yield Member(parts, info.file_size, partial(file.open, info))


def _zip_kind(info: zipfile.ZipInfo) -> str:
    mode = info.external_attr >> 16
    if info.is_dir() or stat.S_ISDIR(mode):
        return 'directory'
    return 'file' if stat.S_IFMT(mode) in (0, stat.S_IFREG) else 'link or device'


class _StrictHeader(tarfile.TarInfo):
    """A member's header; where tarfile takes no header, half of one and a damaged one for the end, this does not."""

    __slots__ = ()

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf == bytes(tarfile.BLOCKSIZE):
                raise  # the end, as it should be
            raise tarfile.ReadError(f'{error}, where a member or the end of the archive should be') from error


def _tar_members(archive: Path, _: Path) -> Iterator[Member]:
    with tarfile.open(archive, tarinfo=_StrictHeader) as file:
        for info in file:
            kind = 'directory' if info.isdir() else 'file' if info.isreg() else 'link or device'
            parts = _safe_parts(archive, info.name, kind)
            if parts:
                yield Member(parts, info.size, partial(_open_in_tar, file, info))
        assert file.fileobj is not None  # it is open
        while file.fileobj.read(1 << 20):
            pass  # the checksum of what was compressed comes last


def _open_in_tar(file: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = file.extractfile(info)
    assert stream is not None  # it is for links and directories
    return stream


def _rar_members(archive: Path, scratch: Path) -> Iterator[Member]:
    """Yields what a program unpacked.

    Names are checked before it runs. So are links where the listing tells them (see `rar`); else they are found
    afterwards, in `scratch`, where nothing follows them, and before the first member leaves it. That a link does not
    lead the program itself out of `scratch` is left to the program; all that are known here see to it.
    """
    for name, is_link in rar.listed(archive):
        _safe_parts(archive, name, 'link or device' if is_link else 'file')
    rar.extract(archive, scratch)
    found = []
    for path in sorted(scratch.rglob('*')):  # does not go through links
        status = path.lstat()
        kind = ('directory' if stat.S_ISDIR(status.st_mode)
                else 'file' if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 'link or device')
        parts = _safe_parts(archive, path.relative_to(scratch).as_posix(), kind)
        if parts:
            found.append(Member(parts, status.st_size, partial(io.FileIO, path), path))
    yield from found


def _safe_parts(archive: Path, name: str, kind: str) -> tuple[str, ...]:
    """Returns the components of a member's path; none for a directory and for a hidden file."""
    parts = tuple(part for part in re.split(r'[/\\]', name) if part not in ('', '.'))
    fault = ('is absolute' if _OUTSIDE.match(name) else 'contains ".."' if '..' in parts
             else 'contains an unprintable character' if UNPRINTABLE.search(name)
             else 'is a link or a device' if kind == 'link or device' else '')
    if fault:
        raise DataListError(f'{archive}: its member {quoted(name)} {fault}; such archives are not unpacked. '
                            'If you trust it, unpack it by hand')
    hidden = any(part.startswith('.') or part == '__MACOSX' for part in parts)
    return () if kind == 'directory' or hidden else parts
