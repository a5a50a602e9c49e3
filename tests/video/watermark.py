"""Generated videos whose frames carry their own number, so that a test can say which frame it was given."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

BITS = 12
CELL_H, CELL_W = 32, 16
HEIGHT, WIDTH = 2 * CELL_H, BITS * CELL_W // 2 + 32


def draw(number: int) -> np.ndarray:
    """A frame (H, W, 3): its number as two rows of six black or white cells, beside a bar that moves."""
    frame = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    for bit in range(BITS):
        row, column = divmod(bit, BITS // 2)
        cell = 255 * (number >> bit & 1)
        frame[row * CELL_H:(row + 1) * CELL_H, column * CELL_W:(column + 1) * CELL_W] = cell
    top = number * 3 % (HEIGHT - 8)
    frame[top:top + 8, -28:-4] = (220, 60, 90)
    return frame


def read_numbers(frames: Iterable[np.ndarray]) -> list[int]:
    """The numbers on frames (H, W, 3); -1 where a cell is neither black nor white (a blend, a grey frame)."""
    numbers = []
    for frame in frames:
        cells = [_brightness(frame, *divmod(bit, BITS // 2)) for bit in range(BITS)]
        clear = all(cell < 60 or cell > 195 for cell in cells)
        numbers.append(sum(1 << bit for bit, cell in enumerate(cells) if cell > 128) if clear else -1)
    return numbers


def _brightness(frame: np.ndarray, row: int, column: int) -> float:
    inner = frame[row * CELL_H + 8:(row + 1) * CELL_H - 8, column * CELL_W + 4:(column + 1) * CELL_W - 4]
    return float(inner.mean())


@dataclass(frozen=True)
class Recipe:
    """How to make a video."""

    suffix: str
    codec: str
    frames: int = 60
    gop: int = 12
    options: dict[str, str] = field(default_factory=dict)
    times: Callable[[int], int] = lambda number: number
    rotation: int = 0
    mirror: tuple[int, bool, bool] | None = None
    container: dict[str, str] = field(default_factory=dict)


def _x264(extra: str = '', bframes: int = 3) -> dict[str, str]:
    fixed = f'scenecut=0:bframes={bframes}:b-adapt=0:rc-lookahead=10:threads=1'
    return {'preset': 'veryfast', 'crf': '18', 'x264-params': ':'.join(filter(None, [fixed, extra]))}


def _uneven(number: int) -> int:
    return sum((1, 3, 2, 7)[i % 4] for i in range(number))


RECIPES = {
    'h264_gop12': Recipe('.mp4', 'libx264', options=_x264()),
    'h264_gop250': Recipe('.mp4', 'libx264', frames=280, gop=250, options=_x264()),
    'h264_no_b': Recipe('.mp4', 'libx264', options=_x264(bframes=0)),
    'h264_all_intra': Recipe('.mp4', 'libx264', gop=1, options=_x264(bframes=0)),
    'h264_open_gop': Recipe('.mp4', 'libx264', options=_x264('open-gop=1')),
    'h264_open_gop_mkv': Recipe('.mkv', 'libx264', options=_x264('open-gop=1')),
    'h264_intra_refresh': Recipe('.mp4', 'libx264', options=_x264('intra-refresh=1', bframes=0)),
    'h264_faststart': Recipe('.mp4', 'libx264', options=_x264(), container={'movflags': 'faststart'}),
    'h264_mkv': Recipe('.mkv', 'libx264', options=_x264()),
    'h264_in_avi': Recipe('.avi', 'libx264', options=_x264()),
    'h264_ts': Recipe('.ts', 'libx264', options=_x264()),
    'h264_vfr': Recipe('.mp4', 'libx264', options=_x264(), times=_uneven),
    'hevc': Recipe('.mp4', 'libx265', options={'preset': 'ultrafast', 'crf': '18',
                                               'x265-params': 'log-level=none:pools=1:bframes=3:b-adapt=0:open-gop=1'}),
    'mpeg4_avi': Recipe('.avi', 'mpeg4', options={'qmin': '2', 'qmax': '3'}),
    'mpeg4_avi_b': Recipe('.avi', 'mpeg4', options={'qmin': '2', 'qmax': '3', 'bf': '2'}),
    'mpeg4_mp4_b': Recipe('.mp4', 'mpeg4', options={'qmin': '2', 'qmax': '3', 'bf': '2'}),
    'mpeg2_ps': Recipe('.mpg', 'mpeg2video', options={'qmin': '2', 'qmax': '3', 'bf': '2'}),
    'mjpeg_avi': Recipe('.avi', 'mjpeg', frames=20, options={'qmin': '2', 'qmax': '3'}),
    'vp8_webm': Recipe('.webm', 'libvpx', frames=40, options={'auto-alt-ref': '1', 'lag-in-frames': '10', 'crf': '8',
                                                              'b': '2M', 'deadline': 'good', 'cpu-used': '5'}),
    'vp9_webm': Recipe('.webm', 'libvpx-vp9', frames=40, options={'auto-alt-ref': '1', 'lag-in-frames': '10',
                                                                  'crf': '15', 'deadline': 'good', 'cpu-used': '8'}),
}


def write_video(path: Path, recipe: Recipe) -> Path:
    if recipe.codec not in av.codecs_available:
        pytest.skip(f'this PyAV has no encoder {recipe.codec}')
    with av.open(str(path), 'w', container_options=recipe.container) as container:
        stream = container.add_stream(recipe.codec, rate=25)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = 'yuvj420p' if recipe.codec == 'mjpeg' else 'yuv420p'
        stream.codec_context.gop_size = recipe.gop
        stream.codec_context.thread_count = 1
        stream.options = recipe.options
        if recipe.rotation:
            stream.set_display_rotation(recipe.rotation)
        if recipe.mirror:
            stream.set_display_rotation(*recipe.mirror)
        for number in range(recipe.frames):
            frame = av.VideoFrame.from_ndarray(draw(number), format='rgb24')
            frame.pts, frame.time_base = recipe.times(number), Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_audio(path: Path) -> Path:
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('aac', rate=16000)
        for i in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format='fltp', layout='mono')
            frame.sample_rate, frame.pts = 16000, 1024 * i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut_without_decoding(source: Path, path: Path, first: int) -> Path:
    """Does what ``ffmpeg -ss ... -c copy`` does: frames before `first` stay in the file, hidden by an edit list."""
    with av.open(str(source)) as old, av.open(str(path), 'w') as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        packets = [packet for packet in old.demux(stream) if packet.size]
        shift = sorted(packet.pts for packet in packets)[first]
        for packet in packets:
            packet.pts -= shift
            packet.dts -= shift
            packet.stream = copy
            new.mux(packet)
    return path


def copy_from_key_frame(source: Path, path: Path, key: int) -> Path:
    """Copies the packets from a key frame on: what follows may refer to frames that are gone."""
    with av.open(str(source)) as old, av.open(str(path), 'w') as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        packets = [packet for packet in old.demux(stream) if packet.size]
        packets = packets[[place for place, packet in enumerate(packets) if packet.is_keyframe][key]:]
        shift = packets[0].dts
        for packet in packets:
            packet.pts -= shift
            packet.dts -= shift
            packet.stream = copy
            new.mux(packet)
    return path


def damage(source: Path, path: Path, first: int, last: int) -> Path:
    """Copies a file, and overwrites what is inside the packets number `first` to `last`."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for packet in packets[first:last + 1]:
        data[packet.pos + 8:packet.pos + packet.size] = b'\xff' * (packet.size - 8)
    path.write_bytes(data)
    return path


def sequential(path: Path, wanted: Collection[int] | None = None) -> dict[int, np.ndarray]:
    """Frames by plain PyAV, from the first packet to the last: the second implementation.

    Args:
        path: The video.
        wanted: Which frames; all of them if None. The others are there, but empty.
    """
    frames = {}
    with av.open(str(path)) as container:
        stream = container.streams.best('video')
        stream.thread_type = 'NONE'
        for number, frame in enumerate(container.decode(stream)):
            frames[number] = np.empty(0)
            if wanted is None or number in wanted:
                rgb = frame.to_ndarray(format='rgb24', threads=1)
                frames[number] = np.rot90(rgb, frame.rotation // 90)
    return frames
