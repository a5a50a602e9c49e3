"""How prepared videos are stored: H.264 of key frames only, MJPEG, or a zip of JPEG images.

H.264 of key frames only is the default: a normal ``.mp4`` that every decoder reads, in which frame k is packet k, and
any frame can be decoded without another. Tuned for decoding (CAVLC, no deblocking), it takes a tenth of the time, or
less, of H.264 with few key frames. With a GOP of 12 (and B-frames; each GOP can be decoded without the others) it takes
about half the space and a third more time; MJPEG takes twice the space and three quarters of the time. A zip of JPEG
images is what the published code reads; it is no faster than H.264: hundreds of members take time to open.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from fedvssl.errors import ConfigError, suggest
from fedvssl.video.container import load_av

if TYPE_CHECKING:
    import av


class Format(NamedTuple):
    """What files of a format are called, and which qualities there are."""

    suffix: str
    quality: int
    qualities: range


FORMATS = MappingProxyType({
    'h264': Format('.mp4', 20, range(1, 52)),  # x264's crf; 0 would be lossless, which few decoders read
    'mjpeg': Format('.avi', 3, range(2, 32)),  # libavcodec's qscale
    'jpeg-zip': Format('.zip', 90, range(1, 101)),  # libjpeg's quality
})

_SHORT_SIDES = range(16, 4097, 2)
_GOPS = range(1, 601)

_ITU601 = frozenset({2, 5, 6})  # libavutil's AVCOL_SPC_UNSPECIFIED, _BT470BG, _SMPTE170M
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG


@dataclass(frozen=True)
class Encoding:
    """How videos are stored.

    Attributes:
        format: One of `FORMATS`.
        short_side: Pixels of the shorter side.
        gop: Of H.264: a key frame every so many frames at least; 1 for key frames only.
        quality: In the format's own scale; None becomes its default.

    Raises:
        ConfigError: If there is no such format, or a number is out of its range.
    """

    format: str = 'h264'
    short_side: int = 144
    gop: int = 1
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ConfigError(f'--format {self.format}: no such format{suggest(self.format, FORMATS)}')
        if self.quality is None:
            object.__setattr__(self, 'quality', FORMATS[self.format].quality)
        if self.short_side not in _SHORT_SIDES:
            raise ConfigError(f'--short-side {self.short_side}: must be an even number from {_SHORT_SIDES[0]} to '
                              f'{_SHORT_SIDES[-1]}')
        if self.gop not in _GOPS or self.gop > 1 and self.format != 'h264':
            raise ConfigError(f'--gop {self.gop}: must be from {_GOPS[0]} to {_GOPS[-1]}, and 1 for formats other than '
                              'h264')
        qualities = FORMATS[self.format].qualities
        if self.quality not in qualities:
            raise ConfigError(f'--quality {self.quality}: must be from {qualities[0]} to {qualities[-1]} for '
                              f'{self.format}')

    @property
    def suffix(self) -> str:
        """Suffix of the files."""
        return FORMATS[self.format].suffix

    @property
    def pixel_format(self) -> str:
        """What frames have to be for `Writer.add`."""
        return {'h264': 'yuv420p', 'mjpeg': 'yuvj420p', 'jpeg-zip': 'rgb24'}[self.format]

    def converted(self, frame: 'av.VideoFrame') -> 'av.VideoFrame':
        """Returns a frame in the pixel format, range and (where files cannot say which) matrix that are stored."""
        limited = self.format == 'h264' and frame.color_range == _FULL_RANGE
        other_matrix = self.format == 'mjpeg' and frame.colorspace not in _ITU601
        if frame.format.name == self.pixel_format and not limited and not other_matrix:
            return frame
        kinds = load_av().video.reformatter
        return frame.reformat(format=self.pixel_format, threads=1,
                              dst_color_range=kinds.ColorRange.MPEG if limited else None,
                              dst_colorspace=kinds.Colorspace.ITU601 if other_matrix else None)
