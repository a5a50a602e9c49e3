"""The videos that the benchmarks of loading and decoding read, made when they are asked for.

The content is real where there are real videos: the beginnings of two clips that mmaction2 ships, encoded anew; one of
them also serves as it is, as the original of the prepared files. Without them, a picture that moves over another.
"""

import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fedvssl import rng
from fedvssl.errors import ConfigError
from fedvssl.video.transcoding.encoding import Encoding
from fedvssl.video.transcoding.transcode import transcode

Size = tuple[int, int]

REAL = ('mmaction2_test.mp4', 'mmaction2_demo.mp4')
REAL_XVID = 'v_ApplyEyeMakeup_g01_c01.avi'
X264 = dict(preset='medium', crf='23', sc_threshold='0')


@dataclass(frozen=True)
class Material:
    """What is encoded.

    Attributes:
        frames: Length of the videos that are made.
        size: Width and height, of most.
        large: Width and height of the large one.
        short_side: Of prepared files.
    """

    frames: int = 300
    size: Size = (340, 256)
    large: Size = (1280, 720)
    short_side: int = 144


@dataclass
class Files:
    """Makes each file once; prepared ones as `scripts/prepare_videos.py` does.

    Args:
        directory: Where to.
        videos: Directory of real videos, or None.
        material: What is encoded.

    Attributes:
        facts: Of every file that has been made: bytes, and CPU seconds that it took to make.
    """

    directory: Path
    videos: Path | None = None
    material: Material = field(default_factory=Material)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    _made: dict[str, Path] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Path:
        """Returns a file of `MAKERS`."""
        if name not in self._made:
            begun = time.process_time()
            path = MAKERS[name](self)
            self._made[name] = path
            self.facts[name] = dict(name=path.name, bytes=path.stat().st_size, cpu_seconds=time.process_time() - begun)
        return self._made[name]

    def pictures(self, size: Size | None = None) -> Iterator[np.ndarray]:
        """Yields the content, frames uint8 (H, W, 3)."""
        size, half = size or self.material.size, -(-self.material.frames // 2)
        if self.videos is None:
            yield from moving_pictures(self.material.frames, size)
            return
        for place, name in enumerate(REAL):
            for frame in islice(all_frames(self._real(name)), self.material.frames - half if place else half):
                yield cv2.resize(frame, size)

    def copy_of(self, name: str) -> Path:
        """Copies a real video."""
        return Path(shutil.copy(self._real(name), self.directory))

    def _real(self, name: str) -> Path:
        assert self.videos is not None
        if not (self.videos / name).is_file():
            raise ConfigError(f'{self.videos / name}: no such file; without FEDVSSL_DATA, the videos are generated')
        return self.videos / name


def _original(files: Files) -> Path:
    return files.copy_of(REAL[0]) if files.videos else files['g250']


def _xvid(files: Files) -> Path:
    if files.videos:
        return files.copy_of(REAL_XVID)
    options = dict(qmin='3', qmax='5', bf='2')
    return encode(files.directory / 'xvid.avi', files.pictures(), 'mpeg4', options, gop=files.material.frames)


def _h264(gop: int) -> Callable[[Files], Path]:
    return lambda files: encode(files.directory / f'g{gop}.mp4', files.pictures(), 'libx264', X264, gop)


def _large(files: Files) -> Path:
    return encode(files.directory / '720p.mp4', files.pictures(files.material.large), 'libx264', X264, 12)


def _prepared(name: str, encoding: str, gop: int = 1) -> Callable[[Files], Path]:
    def make(files: Files) -> Path:
        target = files.directory / name
        for _ in transcode(files['original'], target, Encoding(encoding, files.material.short_side, gop)):
            pass
        return target
    return make


MAKERS: dict[str, Callable[[Files], Path]] = {
    'original': _original,
    'g250': _h264(250),
    'g12': _h264(12),
    'xvid': _xvid,
    '720p': _large,
    'intra': _prepared('intra.mp4', 'h264'),
    'prepared-g12': _prepared('prepared-g12.mp4', 'h264', 12),
    'mjpeg': _prepared('mjpeg.avi', 'mjpeg'),
    'jpeg-zip': _prepared('jpeg.zip', 'jpeg-zip'),
    'ctp-zip': lambda files: write_zip(files.directory / 'ctp.zip', files.pictures(), 95),
}


def encode(path: Path, frames: Iterable[np.ndarray], codec: str, options: Mapping[str, str], gop: int,
           rate: int = 30) -> Path:
    """Encodes frames uint8 (H, W, 3), all of one size."""
    import av

    with av.open(str(path), 'w') as container:
        stream: Any = container.add_stream(codec, rate=rate, options=dict(options))
        stream.codec_context.gop_size, stream.codec_context.thread_count = gop, 1
        for number, frame in enumerate(frames):
            if number == 0:
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = 'yuv420p'
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode(None))
    return path


def write_zip(path: Path, frames: Iterable[np.ndarray], quality: int) -> Path:
    """Stores frames as numbered JPEGs, as CtP does: ``img_00001.jpg`` and so on, not packed."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as file:
        for number, frame in enumerate(frames, 1):
            _, image = cv2.imencode('.jpg', cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
            file.writestr(f'img_{number:05d}.jpg', image.tobytes())
    return path


def all_frames(path: Path) -> Iterator[np.ndarray]:
    """Yields all frames of a file, RGB (H, W, 3), one after the other from the first: what seeking must agree with."""
    if path.suffix == '.zip':
        with zipfile.ZipFile(path) as file:
            for name in sorted(file.namelist()):
                image = cv2.imdecode(np.frombuffer(file.read(name), np.uint8), cv2.IMREAD_COLOR)
                assert image is not None
                yield image[..., ::-1]
        return
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = 'NONE'
        for frame in container.decode(stream):
            yield frame.to_ndarray(format='rgb24', threads=1)


def moving_pictures(frames: int, size: Size, seed: int = 0) -> Iterator[np.ndarray]:
    """Yields frames uint8 (H, W, 3): one picture moves over another that moves the other way, under some noise."""
    random = rng.generator(seed, 'moving-pictures')
    (width, height), noise = size, random.integers(0, 7, (2 * size[1], 2 * size[0], 3), dtype=np.uint8)
    back, front = (cv2.resize(random.integers(250, size=(rows, 2 * rows, 3), dtype=np.uint8), (2 * width, 2 * height),
                              interpolation=cv2.INTER_CUBIC) for rows in (20, 12))
    for number in range(frames):
        there, here = (int(side * (0.5 + 0.45 * np.sin(0.05 * number + phase))) for side, phase in
                       ((width, 0), (height, 1)))
        frame = back[here:here + height, there:there + width].copy()
        top, left = height // 4 + (height - here) // 4, (width - there) // 2
        frame[top:top + height // 2, left:left + width // 2] = front[here:here + height // 2, :width // 2]
        y, x = random.integers(height), random.integers(width)
        yield cv2.add(frame, noise[y:y + height, x:x + width])
