"""Videos that are stored as numbered images: a folder of raw frames, or a zip of them, read as they are.

Frame i is the i-th image by number; numbers start at 0 or 1 and have no gaps. Pixels are those of `cv2.imdecode`, which
mmaction2 uses too; so an EXIF orientation is applied, should an image have one.

An image is refused where its damage can be seen. PNG and zip members carry checksums. JPEG has none: a file that was
cut, or whose end was never written, lacks its end marker; a flipped bit can pass as another picture.
"""

import io
import os
import re
import stat
import zipfile
from abc import abstractmethod
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from fedvssl.video.errors import VideoDecodeError, describe
from fedvssl.video.files import check_regular_file
from fedvssl.video.pixels import FrameStack
from fedvssl.video.reader import FrameReader, Opening, Size

MOST_IMAGE_BYTES = 64 << 20
MOST_PIXELS = 1 << 25  # 8K UHD has 33.2 million
MOST_DIRECTORY_BYTES = 8 << 20  # of a zip's table of contents: about 100,000 members
_MOST_SEGMENTS = 512  # each scan of a progressive JPEG is a pass over the whole picture

_IMAGE = re.compile(r"""
    (?! __MACOSX/)
    (?P<prefix> (?: .*/ )?+ (?! \.) (?P<flow> flow_ )? (?: [^/]* [^0-9/] )? )
    (?P<digits> [0-9]* )
    \. (?: jpe?g | png )""", re.VERBOSE | re.IGNORECASE | re.DOTALL)
_ZIP_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})  # zipfile bounds their output, not bzip2's

_JPEG, _PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'
# Neither stuffing (00), nor markers that stand alone (01, RST, SOI), nor fill bytes (ff).
_MARKER = re.compile(rb'\xff([\x02-\xcf\xd9-\xfe])')
_END_OF_IMAGE = 0xd9
_START_OF_FRAME = frozenset(range(0xc0, 0xd0)) - {0xc4, 0xc8, 0xcc}


class _StoredFrames(FrameReader):
    """Reads a video of which each frame is an image with a name."""

    def _arrange(self, names: Iterable[str]) -> None:
        """Says which images there are; the others in `names` do not count."""
        try:
            self._names = in_order(names)
        except ValueError as error:
            raise self._refused(str(error)) from error

    @abstractmethod
    def _read(self, name: str) -> bytes:
        """Returns an image as it is stored, at most `MOST_IMAGE_BYTES`."""

    def __len__(self) -> int:
        return len(self._names)

    def _decode(self, wanted: np.ndarray, size: Size | None) -> np.ndarray:
        stack = FrameStack(len(wanted), size)
        for slot, number in enumerate(wanted):
            name = self._names[number]
            try:
                stack.put(slot, decode_image(self._read(name)))
            except Exception as error:  # zipfile, zlib and cv2 raise a dozen unrelated types
                reason = str(error) if type(error) is ValueError else describe(error)
                raise self._refused(f'{name}: {reason}') from error
        return stack.array()

    def _refused(self, reason: str) -> VideoDecodeError:
        return VideoDecodeError(self.path, self.backend, reason)


class FolderReader(_StoredFrames):
    """Reads a folder of raw frames. It holds no file open.

    Args:
        path: The folder. Links in it are not followed.
        opening: Unused: decoding a bounded image takes bounded time.

    Raises:
        VideoDecodeError: If it has no images, their numbering is not whole, or one of them is no regular file.
        OSError: If it is not a folder; `open_video` turns it into `VideoDecodeError`.
    """

    backend = 'frames'

    def __init__(self, path: Path, opening: Opening) -> None:
        super().__init__(path)
        with os.scandir(path) as entries:
            regular = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
        self._arrange(regular)
        for name in self._names:
            if not regular[name]:
                raise self._refused(f'{name} is not a regular file (links are not followed)')

    def _read(self, name: str) -> bytes:
        with io.FileIO(str(self.path / name), opener=_open_cautiously) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError('not a regular file')
            _check_size(status.st_size)
            return file.read(status.st_size)

    def _close(self) -> None:
        """Does nothing."""


class ZipReader(_StoredFrames):
    """Reads a zip of frames. Opening it reads the table of contents, `get` the members that it needs.

    Args:
        path: The file. Nothing is extracted, so that its members may have any names.
        opening: Unused, as for folders.

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
            self._zip = zipfile.ZipFile(self._file)
            self._file.most = MOST_IMAGE_BYTES
            self._arrange(member.filename for member in self._zip.filelist)
        except BaseException:
            self._file.close()
            raise

    def _read(self, name: str) -> bytes:
        member = self._zip.getinfo(name)
        if member.compress_type not in _ZIP_METHODS:
            raise ValueError(f'packed by method {member.compress_type}; only stored and deflated images can be read')
        _check_size(member.file_size)
        with self._zip.open(member) as file:
            return file.read(member.file_size)  # no more, whatever it unpacks to

    def _close(self) -> None:
        self._zip.close()
        self._file.close()


class _ZipFile(io.FileIO):
    """A file that refuses to read too much at once. `zipfile` reads a table of contents of any size at once."""

    most = MOST_DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most:
            raise ValueError(f'a table of contents of {size} bytes, more than {self.most}')
        return super().read(size)


def in_order(names: Iterable[str]) -> list[str]:
    """Returns the images among `names` by number. Left out are hidden files and the optical flow beside frames.

    Raises:
        ValueError: If there are none, if one has no number, two have the same or different prefixes, if one is missing
            in between, or if they start neither at 0 nor at 1.
    """
    images = [found for name in names if (found := _IMAGE.fullmatch(name))]
    if not images:
        raise ValueError('it holds no .jpg, .jpeg or .png images')
    series = sorted(_numbered(image) for image in [image for image in images if not image['flow']] or images)
    for (number, prefix, name), (next_number, next_prefix, next_name) in pairwise(series):
        if prefix != next_prefix:
            raise ValueError(f'images of different series: {name} and {next_name}')
        if number == next_number:
            raise ValueError(f'two images have the number {number}: {name} and {next_name}')
        if number + 1 != next_number:
            raise ValueError(f'frame numbers jump from {number} to {next_number}: {_neighbour(name, 1)} is missing')
    first, _, name = series[0]
    if first > 1:
        raise ValueError(f'frame numbers start at {first}: {_neighbour(name, -1)} is missing')
    return [name for _, _, name in series]


def _numbered(image: re.Match[str]) -> tuple[int, str, str]:
    """Returns number, prefix and name of an image."""
    if not image['digits']:
        raise ValueError(f'{image[0]} has no number')
    return int(image['digits']), image['prefix'], image[0]


def _neighbour(name: str, step: int) -> str:
    """Returns how the image before or after this one is called, without its suffix."""
    image = _IMAGE.fullmatch(name)
    assert image is not None
    return f'{image["prefix"]}{int(image["digits"]) + step:0{len(image["digits"])}d}'


def decode_image(data: bytes) -> np.ndarray:
    """Decodes a JPEG or PNG image.

    Returns:
        RGB (H, W, 3), uint8, upright; of 16-bit samples the upper half, without alpha.

    Raises:
        ValueError: If it is something else, damaged, or has more than `MOST_PIXELS` pixels (found before decoding).
        cv2.error: If OpenCV fails.
    """
    height, width = _size(data)
    if height * width > MOST_PIXELS:
        raise ValueError(f'{width}x{height} are more than {MOST_PIXELS} pixels')
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError('damaged, or of a kind that OpenCV does not read')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _size(data: bytes) -> tuple[int, int]:
    """Returns height and width that an image's header declares."""
    if data.startswith(_JPEG):
        return _jpeg_size(data)
    if data.startswith(_PNG) and len(data) >= 24:
        return int.from_bytes(data[20:24]), int.from_bytes(data[16:20])
    raise ValueError(f'neither JPEG nor PNG ({len(data)} bytes)')


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Follows the markers of a JPEG to its end marker, behind which there may be padding.

    OpenCV does not ask for the end marker, and paints grey what is missing.
    """
    size, at = (0, 0), len(_JPEG) - 1
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            raise ValueError('the JPEG breaks off')
        marker, at = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            return size
        if marker in _START_OF_FRAME:
            size = int.from_bytes(data[at + 3:at + 5]), int.from_bytes(data[at + 5:at + 7])
        at += int.from_bytes(data[at:at + 2])  # what follows the start of a scan is passed by the next search
    raise ValueError(f'a JPEG of more than {_MOST_SEGMENTS} segments')


def _check_size(size: int) -> None:
    if size > MOST_IMAGE_BYTES:
        raise ValueError(f'an image of {size} bytes, more than {MOST_IMAGE_BYTES}')


def _open_cautiously(path: str, flags: int) -> int:
    """Opens a file that may have become a link or a FIFO since the folder was listed."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
