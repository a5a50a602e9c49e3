"""What the loader's benchmark compares: which clips of which files, and how many times as fast ours has to be.

The access patterns are those of the published configs; the short side 128 stands for 112, 128 and 144 in turn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

Config = dict[str, Any]

CROP = 112


@dataclass(frozen=True)
class Pattern:
    """Which frames a sample takes, and what becomes of them.

    Attributes:
        sampler: Config of the sampler.
        size: What frames are resized to, an exact (width, height) or the short side; then they are cropped to `CROP`.
        flip: Whether half of the samples are mirrored.
    """

    sampler: Config
    size: int | tuple[int, int]
    flip: bool

    @property
    def frames(self) -> int:
        """How many frames a sample shows."""
        return self.sampler['clip_length'] * self.sampler.get('num_clips', 1)

    def transforms(self, fast: bool) -> list[Config]:
        """Returns our configs, of published pixels or of `FastResizeCrop`."""
        resize_crop = [dict(type='FastResizeCrop', sizes=[self.size], crop=CROP)] if fast else [
            dict(type='Resize', size=self.size), dict(type='RandomCrop', size=CROP)]
        return [*resize_crop, *([dict(type='Flip', p=0.5)] if self.flip else [])]


CLIP = Pattern(dict(type='RandomClipSampler', clip_length=16, stride=2), 128, flip=True)
CLIP_STRIDE_4 = Pattern(dict(type='RandomClipSampler', clip_length=16, stride=4), 128, flip=True)
CLIP_AS_VCOP = Pattern(dict(type='RandomClipSampler', clip_length=16, stride=2), (171, 128), flip=False)
TUPLE = Pattern(dict(type='VCOPSampler', clip_length=16, num_clips=3, gap=8), (171, 128), flip=False)


@dataclass(frozen=True)
class Known:
    """What the other side takes elsewhere: CPU milliseconds per clip, of what, and how fast a machine that was."""

    cpu_ms: tuple[float, float]
    source: str


_CTP = Known((14.3, 15.9), "CtP's own code, where mmaction2 takes 85.5 to load a clip of GOP 250")
_CTP_TUPLE = Known((37.8, 37.8), "CtP's own code, where mmaction2 takes 132 to load a tuple of GOP 250")
_MMACTION = Known((0.69, 0.69), 'mmaction2, where it takes 85.5 to load a clip of GOP 250')


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        title: What is compared.
        bar: How many times as fast as the other side ours has to be.
        pattern: Which clips.
        ours: What our side reads, a name in `loader_files.MAKERS`.
        theirs: What the other side reads.
        published: Whether the other side is CtP's way with zips; else it is mmaction2 on decord.
        decoded: Whether both sides are given decoded frames, so that only the transforms count.
        known: Figures that the other side should come near to.
    """

    title: str
    bar: float
    pattern: Pattern
    ours: str
    theirs: str
    published: bool = False
    decoded: bool = False
    known: Known | None = None

    @property
    def judged(self) -> str:
        """Which of our variants the bar is for."""
        return 'fast' if self.decoded else 'faithful'


CASES: Mapping[str, Case] = MappingProxyType({
    'raw-g250': Case('H.264, GOP 250', 1.3, CLIP, 'g250', 'g250'),
    'raw-original': Case('H.264 as it came', 1.3, CLIP, 'original', 'original'),
    'raw-g12': Case('H.264, GOP 12', 1.4, CLIP, 'g12', 'g12'),
    'raw-g12-stride-4': Case('H.264, GOP 12, stride 4', 1.8, CLIP_STRIDE_4, 'g12', 'g12'),
    'raw-xvid': Case('XviD .avi', 1.8, CLIP, 'xvid', 'xvid'),
    'raw-720p': Case('H.264, 720p, GOP 12', 1.5, CLIP, '720p', '720p'),
    'vcop-g12': Case('VCOP, H.264, GOP 12', 1.25, TUPLE, 'g12', 'g12'),
    'vcop-g250': Case('VCOP, H.264, GOP 250', 1.25, TUPLE, 'g250', 'g250'),
    'vcop-original': Case('VCOP, H.264 as it came', 1.25, TUPLE, 'original', 'original'),
    'prepared-intra': Case('prepared, all-intra', 12, CLIP, 'intra', 'original'),
    'prepared-g12': Case('prepared, GOP 12', 8, CLIP, 'prepared-g12', 'original'),
    'prepared-jpeg-zip': Case('prepared, JPEG zip', 20, CLIP, 'jpeg-zip', 'original'),
    'prepared-mjpeg': Case('prepared, MJPEG', 20, CLIP, 'mjpeg', 'original'),
    'vcop-prepared': Case('VCOP, prepared, all-intra', 8, TUPLE, 'intra', 'original'),
    'zip': Case("CtP's zips", 1.6, CLIP_AS_VCOP, 'ctp-zip', 'ctp-zip', published=True, known=_CTP),
    'vcop-zip': Case("VCOP, CtP's zips", 1.6, TUPLE, 'ctp-zip', 'ctp-zip', published=True, known=_CTP_TUPLE),
    'geometry': Case('resize, crop and flip alone', 2, CLIP, 'g12', 'g12', decoded=True, known=_MMACTION),
})
