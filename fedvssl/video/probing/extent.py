"""How long a file ought to be by its own outermost structure: what a download or a copy that broke off falls short of.

MP4 and its kin are a row of boxes with lengths (ISO/IEC 14496-12, 4.2), AVI is one or several RIFF chunks (OpenDML
1.02), Matroska a header and a segment (RFC 8794 and 9559). Other formats, and files written as a stream, do not say.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_BOXES = frozenset({b'ftyp', b'moov', b'mdat', b'moof', b'mfra', b'free', b'skip', b'wide', b'uuid', b'sidx', b'styp',
                    b'meta', b'pnot', b'udta', b'ssix', b'prft', b'emsg'})
_EBML, _SEGMENT = b'\x1a\x45\xdf\xa3', b'\x18\x53\x80\x67'
_STREAMED_RIFF = frozenset({0, 0x7fffffff, 0xffffffff})


def missing_bytes(path: Path) -> int:
    """Returns how many bytes a file lacks at its end, at least (what would follow the piece that is cut is not known).

    0 if none, if it does not say, or if it is not to be read.
    """
    try:
        size = path.stat().st_size if path.is_file() else 0  # opening a FIFO would wait for ever
        if not size:
            return 0
        with path.open('rb') as file:
            return max(_end(file, file.read(8)) - size, 0)
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return 0


def _end(file: BinaryIO, head: bytes) -> int:
    walk: Callable[[BinaryIO], int]
    if head[4:8] in _BOXES:
        walk = _end_of_boxes
    elif head[:4] == b'RIFF':
        walk = _end_of_riff
    elif head[:4] == _EBML:
        walk = _end_of_segment
    else:
        return 0
    file.seek(0)
    return walk(file)


def _end_of_boxes(file: BinaryIO) -> int:
    place = 0
    while True:
        file.seek(place)
        head = file.read(16)
        if len(head) < 8 or head[4:8] not in _BOXES:  # the end, or what others have appended
            return place
        size, = struct.unpack('>I', head[:4])
        if size == 1 and len(head) == 16:
            size, = struct.unpack('>Q', head[8:])
        if size < 8:  # 0: up to the end of the file; else nonsense
            return 0
        place += size


def _end_of_riff(file: BinaryIO) -> int:
    place = 0
    while True:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8 or head[:4] != b'RIFF':
            return place
        size, = struct.unpack('<I', head[4:])
        if size in _STREAMED_RIFF:
            return 0
        place += 8 + size


def _end_of_segment(file: BinaryIO) -> int:
    file.seek(len(_EBML))
    header = _length(file)
    if header is None:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return 0
    length = _length(file)
    return 0 if length is None else file.tell() + length


def _length(file: BinaryIO) -> int | None:
    """Reads an EBML length: the leading zeros of the first byte tell how many more follow; all ones mean unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] - (0x80 >> more)]) + file.read(more), 'big')
    return None if value == (1 << 7 * (more + 1)) - 1 else value
