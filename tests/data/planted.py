"""A set of 60 tiny real videos, 28 of them healthy, the others with a defect each: what the doctor has to find."""

import csv
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = 32
CODECS = {'.mp4': ('libx264', {'crf': '20', 'preset': 'veryfast', 'x264-params': 'bframes=2:threads=1'}),
          '.mkv': ('libx264', {'crf': '20', 'preset': 'veryfast', 'x264-params': 'bframes=2:threads=1'}),
          '.avi': ('mpeg4', {'qmin': '2', 'qmax': '4'})}
HEALTHY = 28


def write(path: Path, seed: int, frames: int = 24, times: Callable[[int], int] = lambda number: number,
          gop: int = 8, **options: str) -> Path:
    """Encodes moving noise: pictures with so much in them that damage cannot pass unnoticed."""
    random = np.random.default_rng(seed)
    still = random.integers(0, 256, (SIZE, 2 * SIZE, 3), np.uint8)
    codec, codec_options = CODECS[path.suffix]
    with av.open(str(path), 'w', container_options=options) as container:
        stream = container.add_stream(codec, rate=25, options=codec_options)
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, 'yuv420p'
        stream.codec_context.gop_size, stream.codec_context.thread_count = gop, 1
        for number in range(frames):
            picture = np.roll(still, 3 * number, axis=1)[:, :SIZE] // 2 + random.integers(0, 128, still[:, :SIZE].shape)
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format='rgb24')
            frame.pts, frame.time_base = times(number), Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def packets(path: Path) -> list[tuple[int, int]]:
    """Returns place and size of each packet."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def overwrite(path: Path, place: int, data: bytes) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:place] + data + content[place + len(data):])


def empty(path: Path, seed: int) -> None:
    path.touch()


def noise(path: Path, seed: int) -> None:
    path.write_bytes(np.random.default_rng(seed).bytes(5000))


def text(path: Path, seed: int) -> None:
    path.write_text(f'this is not video {seed}\n' * 40)


def header_only(path: Path, seed: int) -> None:
    path.write_bytes(write(path, seed).read_bytes()[:32])


def audio_only(path: Path, seed: int) -> None:
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('aac', rate=16000)
        for number in range(8 + seed % 5):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format='fltp', layout='mono')
            frame.sample_rate, frame.pts = 16000, 1024 * number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def truncated(path: Path, seed: int) -> None:
    """Cuts off the end: of MP4 once the pictures, once the table of them, which is needed to open it."""
    options = {'movflags': 'faststart'} if seed % 2 and path.suffix == '.mp4' else {}
    data = write(path, seed, **options).read_bytes()
    path.write_bytes(data[:len(data) * 7 // 10])


def zeroed(path: Path, seed: int) -> None:
    places = packets(write(path, seed))
    middle = places[len(places) // 2][0]
    overwrite(path, middle, bytes(places[-2][0] - middle))


def bit_rot(path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    for place, size in packets(write(path, seed))[3::2]:
        overwrite(path, place + size // 3, random.bytes(size // 2))


def short(path: Path, seed: int) -> None:
    write(path, seed, frames=1)


def promising(path: Path, seed: int) -> None:
    """Sets dwTotalFrames of the AVI header and dwLength of the stream header."""
    data = write(path, seed).read_bytes()
    overwrite(path, data.index(b'avih') + 8 + 16, struct.pack('<I', 99))
    overwrite(path, data.index(b'strh') + 8 + 32, struct.pack('<I', 99))


def uneven(path: Path, seed: int) -> None:
    write(path, seed, times=lambda number: sum((1, 3, 2, 7)[step % 4] for step in range(number)))


def cut_by_edit_list(path: Path, seed: int) -> None:
    """What ``ffmpeg -ss ... -c copy`` does: seven frames stay in the file, hidden."""
    whole = write(path.with_suffix('.whole.mp4'), seed)
    with av.open(str(whole)) as old, av.open(str(path), 'w') as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        kept = [packet for packet in old.demux(stream) if packet.size]
        shift = sorted(packet.pts for packet in kept)[7]
        for packet in kept:
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
            new.mux(packet)
    whole.unlink()


# Defect -> the kind under which it is to be found, the suffixes of its two files, and what makes them.
DEFECTS: dict[str, tuple[str, tuple[str, str], Callable[[Path, int], object] | None]] = {
    'missing': ('missing', ('.mp4', '.avi'), None),
    'empty': ('undecodable', ('.mp4', '.avi'), empty),
    'noise': ('undecodable', ('.mp4', '.avi'), noise),
    'text': ('undecodable', ('.mp4', '.avi'), text),
    'header-only': ('undecodable', ('.mp4', '.mp4'), header_only),
    'audio-only': ('undecodable', ('.mp4', '.mp4'), audio_only),
    'truncated': ('truncated', ('.mp4', '.mp4'), truncated),
    'truncated-other': ('truncated', ('.avi', '.mkv'), truncated),
    'zeroed': ('damaged', ('.mp4', '.avi'), zeroed),
    'bit-rot': ('damaged', ('.mp4', '.avi'), bit_rot),
    'short': ('too-few-frames', ('.mp4', '.avi'), short),
    'promising': ('frame-count', ('.avi', '.avi'), promising),
    'uneven': ('variable-rate', ('.mp4', '.mkv'), uneven),
    'edit-list': ('edit-list', ('.mp4', '.mp4'), cut_by_edit_list),
}


def plant(root: Path) -> dict[str, str]:
    """Writes the set and its list ``list.csv`` (path,split,site).

    Returns:
        Path and kind of what has to be found. Of the four copies, the kind tells against what they are.
    """
    rows, expected = [], {}
    for number in range(HEALTHY):
        path = f'healthy_{number:02d}{(".mp4", ".avi", ".mkv")[number % 3]}'
        write(root / path, number, frames=10 + number)
        rows.append((path, 'test' if number % 4 == 3 else 'train', f'site{number % 2}'))
    for number, (name, (kind, suffixes, make)) in enumerate(DEFECTS.items()):
        for turn, suffix in enumerate(suffixes):
            path = f'{name}_{turn}{suffix}'
            if make:
                make(root / path, 100 + 2 * number + turn)
            rows.append((path, 'train', f'site{turn}'))
            expected[path] = kind
    for path, copied, split, site, kind in (
            ('copy_split.avi', 'healthy_07.avi', 'train', 'site1', 'train-test-duplicate'),
            ('copy_client_0.mp4', 'healthy_00.mp4', 'train', 'site1', 'client-duplicate'),
            ('copy_client_1.avi', 'healthy_01.avi', 'train', 'site0', 'client-duplicate'),
            ('copy_twice.mkv', 'healthy_02.mkv', 'train', 'site0', 'duplicate')):
        (root / path).write_bytes((root / copied).read_bytes())
        rows.append((path, split, site))
        expected[path] = kind
    with (root / 'list.csv').open('w', newline='') as stream:
        csv.writer(stream).writerows([('path', 'split', 'site'), *rows])
    assert len(rows) == 60
    return expected
