"""Zips of numbered images as videos, as CtP and FedVSSL store theirs.

What costs time is not the images but the table of contents: `zipfile` takes as long for 300 members as for decoding two
or three of them. So the table can be kept, like the frame index of a video file.
"""

import io
import zipfile
from pathlib import Path

from fedvssl.video.files import check_regular_file
from fedvssl.video.image_table import ImageTable
from fedvssl.video.reader import Opening
from fedvssl.video.readers.frames import StoredFrames
from fedvssl.video.readers.images import MOST_IMAGE_BYTES, check_size

MOST_DIRECTORY_BYTES = 8 << 20  # of a zip's table of contents: about 100,000 members
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})  # zipfile bounds their output, not bzip2's


class ZipReader(StoredFrames):
    """Reads a zip of frames. Opening it reads the table of contents, `get` the members that it needs.

    Args:
        path: The file. Nothing is extracted, so that its members may have any names.
        opening: Its table spares reading that of the file.

    Raises:
        VideoDecodeError: If it has no images, or their numbering is not whole.
        Exception: What `zipfile` raises for damaged files; `open_video` turns it into `VideoDecodeError`.
    """

    backend = 'zip-jpeg'

    def __init__(self, path: Path, opening: Opening) -> None:
        super().__init__(path)
        check_regular_file(path, self.backend)
        self._file = _ZipFile(str(path))
        try:
            if opening.table is not None:
                self._zip: zipfile.ZipFile = _KnownZip(self._file)
                self.table = opening.table
                self._names = list(opening.table.names)
            else:
                self._zip = zipfile.ZipFile(self._file)
                self._arrange(member.filename for member in self._zip.filelist)
                members = [self._zip.getinfo(name) for name in self._names]
                if all(member.filename == member.orig_filename for member in members):
                    self.table = ImageTable.of(members)
            self._file.most = MOST_IMAGE_BYTES
        except BaseException:
            self._file.close()
            raise

    def _read(self, number: int) -> bytes:
        member = self.table.member(number) if self.table else self._zip.getinfo(self._names[number])
        if member.compress_type not in _METHODS:
            raise ValueError(f'packed by method {member.compress_type}; only stored and deflated images can be read')
        check_size(member.file_size)
        with self._zip.open(member) as file:
            return file.read(member.file_size)  # no more, whatever it unpacks to

    def _close(self) -> None:
        self._zip.close()
        self._file.close()


class _KnownZip(zipfile.ZipFile):
    """A zip whose table of contents is known. Members are opened, and checked against their own headers, as always."""

    def _RealGetContents(self) -> None:  # noqa: N802 - zipfile's; under another name it would be read in vain
        pass


class _ZipFile(io.FileIO):
    """A file that refuses to read too much at once. `zipfile` reads a table of contents of any size at once."""

    most = MOST_DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most:
            raise ValueError(f'a table of contents of {size} bytes, more than {self.most}')
        return super().read(size)
