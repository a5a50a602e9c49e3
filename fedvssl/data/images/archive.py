"""A few files out of a ``.tar.gz``, with an error that says whether it was cut off."""

import tarfile
import zlib
from pathlib import Path, PurePosixPath

from fedvssl.errors import DataListError

MAX_BYTES = 1 << 30  # of one file; the largest batch file, that of CIFAR-100, has 155 MB


def read_members(archive: Path, names: frozenset[str], official_bytes: int) -> dict[str, bytes]:
    """Returns the contents of the files of these names, in whatever folder of the archive they are.

    It is read to its end, so that an archive that was cut off is noticed whatever was asked for.

    Args:
        archive: The archive; nothing of it is written to disk.
        names: The files; those that it lacks are left out.
        official_bytes: Size of the archive as it is published, for messages.

    Raises:
        DataListError: If it cannot be read, or is damaged or incomplete.
    """
    try:
        with tarfile.open(archive, 'r:gz') as tar:
            return {PurePosixPath(member.name).name: _content(tar, member) for member in tar
                    if member.isfile() and PurePosixPath(member.name).name in names}
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError) as error:
        size = archive.stat().st_size if archive.is_file() else 0
        expected = f' of the {official_bytes:,} of the official archive' if size < official_bytes else ''
        raise DataListError(f'{archive}: is damaged or incomplete: has {size:,} bytes{expected} '
                            f'({type(error).__name__}: {error}); download it again') from error


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_BYTES:
        raise ValueError(f'{member.name} claims {member.size:,} bytes, more than the {MAX_BYTES:,} that are read')
    stream = tar.extractfile(member)
    content = stream.read() if stream else b''
    if len(content) != member.size:
        raise ValueError(f'{member.name} ends after {len(content):,} of {member.size:,} bytes')
    return content
