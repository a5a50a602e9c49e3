"""Numbered images: their order, and decoding them with damage refused where it can be seen.

Pixels are those of `cv2.imdecode`, which mmaction2 uses too; so an EXIF orientation is applied, should an image have
one. PNG carries checksums. JPEG has none: a file that was cut, or whose end was never written, lacks its end marker; a
flipped bit can pass as another picture.
"""

import re
from collections.abc import Iterable
from itertools import pairwise

import cv2
import numpy as np

MOST_IMAGE_BYTES = 64 << 20
MOST_PIXELS = 1 << 25  # 8K UHD has 33.2 million
_AS_RGB = getattr(cv2, 'IMREAD_COLOR_RGB', 0)  # since OpenCV 4.11
_MOST_SEGMENTS = 512  # each scan of a progressive JPEG is a pass over the whole picture

_IMAGE = re.compile(r"""
    (?! __MACOSX/)
    (?P<prefix> (?: .*/ )?+ (?! \.) (?P<flow> flow_ )? (?: [^/]* [^0-9/] )? )
    (?P<digits> [0-9]* )
    \. (?: jpe?g | png )""", re.VERBOSE | re.IGNORECASE | re.DOTALL)

_JPEG, _PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'
# Neither stuffing (00), nor markers that stand alone (01, RST, SOI), nor fill bytes (ff).
_MARKER = re.compile(rb'\xff([\x02-\xcf\xd9-\xfe])')
_END_OF_IMAGE = 0xd9
_START_OF_FRAME = frozenset(range(0xc0, 0xd0)) - {0xc4, 0xc8, 0xcc}


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
    image = cv2.imdecode(np.frombuffer(data, np.uint8), _AS_RGB or cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError('damaged, or of a kind that OpenCV does not read')
    return image if _AS_RGB else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


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


def check_size(size: int) -> None:
    """Refuses an image of too many bytes, as a ValueError."""
    if size > MOST_IMAGE_BYTES:
        raise ValueError(f'an image of {size} bytes, more than {MOST_IMAGE_BYTES}')
