"""A small labelled video set, generated: textured shapes whose *motion* is the class.

Eight classes in four pairs: translation to the right and to the left; rotation clockwise and anti-clockwise; slow and
fast translation in any direction; and two orders of two events, a swell and a flash. Nothing but time tells them apart,
because the marginal distribution of a single frame is the same for every class: shape, texture, colour, background and
position are drawn alike, positions live on a torus, and both events recur in every video with a random phase (half a
period apart where the class has no order, one right after the other where it has).

Every video moves, and speeds up as it goes, so that clip order, playback rate (reversal included) and tracking are
learnable on all of them. The pairs also differ in pace, as actions do. Whoever measures speed alone, which is what clip
order asks for here, can tell pair from pair and slow from fast, but not the two classes of the other pairs: 62.5 % at
best. The remainder is direction, sense of rotation, and order.

Every video is a real file: H.264 in ``.mp4`` and MPEG-4 part 2 in ``.avi``, alternating, written through PyAV.
"""

import csv
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from fedvssl import rng
from fedvssl.errors import StorageError

# Class -> pace in px per frame at the middle of the video. The two classes of a pair share theirs.
PACES = dict(right=1.9, left=1.9, clockwise=1.15, anticlockwise=1.15, slow=0.45, fast=3.0, swell_flash=0.7,
             flash_swell=0.7)
CLASSES = tuple(PACES)
WIDTH, HEIGHT = 64, 56
FPS = 24
GROUPS = 4
SPEED_UP = 1.8  # factor per 12 frames
EVENT_PERIOD, EVENT_LENGTH = 24, 6  # frames; one period holds both events and a rest of 12 frames


@dataclass(frozen=True)
class Motion:
    """What the class decides: everything that only a sequence of frames can show."""

    velocity: tuple[float, float]  # px per frame in the middle of the video, y downwards
    spin: float  # radians per frame, likewise
    swell_at: int  # frames after the start of the period
    flash_at: int


def draw_motion(label: int, random: np.random.Generator) -> Motion:
    """Draws the motion of one video of class `label` (an index into `CLASSES`)."""
    name = CLASSES[label]
    pace = PACES[name] * random.uniform(0.92, 1.08)
    heading = {'right': 0.0, 'left': np.pi}.get(name, random.uniform(0, 2 * np.pi))
    heading += np.deg2rad(random.uniform(-12, 12))
    spin = np.deg2rad(8) * {'clockwise': pace, 'anticlockwise': -pace}.get(name, 0.0)
    events = {'swell_flash': (0, EVENT_LENGTH), 'flash_swell': (EVENT_LENGTH, 0)}.get(name, (0, EVENT_PERIOD // 2))
    return Motion((pace * np.cos(heading), pace * np.sin(heading)), spin, *events)


def render(index: int, label: int, group: int, seed: int) -> np.ndarray:
    """Renders one video.

    Args:
        index: Number of the video; with `seed` it names all random draws.
        label: Class, an index into `CLASSES`.
        group: Site of the recording, 0..GROUPS-1; it tints the picture.
        seed: Seed of the set.

    Returns:
        Frames (T, HEIGHT, WIDTH, 3) uint8 RGB, T in 40..48.
    """
    motion = draw_motion(label, rng.generator(seed, 'synthetic-motion', index))
    look = rng.generator(seed, 'synthetic-look', index)
    frames = int(look.integers(40, 49))
    clock = np.arange(frames) + look.integers(0, EVENT_PERIOD)
    swell, flash = _pulse(clock, motion.swell_at), _pulse(clock, motion.flash_at)
    progress = _progress(frames)
    x_THWC = _background(motion, progress, look)
    for _ in range(int(look.integers(2, 4))):
        _paint_shape(x_THWC, motion, progress, swell, flash, look)
    tint = (1 + 0.15 * np.cos(2 * np.pi * (group / GROUPS + np.arange(3) / 3))).astype(np.float32)
    return np.clip(np.rint(x_THWC * tint), 0, 255).astype(np.uint8)


def _progress(frames: int) -> np.ndarray:
    """Returns how far a motion has come at each frame, in units of one frame's step at the middle of the video."""
    rate = np.log(SPEED_UP) / 12
    return np.exp(rate * (np.arange(frames) - frames / 2)) / rate


def _pulse(clock: np.ndarray, at: int) -> np.ndarray:
    """Returns an event's strength 0..1 at each tick: half a sine wave of EVENT_LENGTH frames in every period."""
    position = (clock - at) % EVENT_PERIOD
    return np.where(position < EVENT_LENGTH, np.sin(np.pi * (position + 0.5) / EVENT_LENGTH), 0).astype(np.float32)


def _background(motion: Motion, progress: np.ndarray, look: np.random.Generator) -> np.ndarray:
    """Returns a colour field (T, H, W, 3) float32 that moves with the shapes: a few waves that fit the torus."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    field = np.zeros((len(progress), HEIGHT, WIDTH, 3), np.float32)
    for _ in range(5):
        kx = 2 * np.pi / WIDTH * look.choice([-3, -2, 2, 3])
        ky = 2 * np.pi / HEIGHT * look.integers(-2, 3)
        travelled = (kx * motion.velocity[0] + ky * motion.velocity[1]) * progress
        phase = (kx * x + ky * y)[None] - travelled[:, None, None] + look.uniform(0, 2 * np.pi)
        field += np.cos(phase.astype(np.float32))[..., None] * look.uniform(-28, 28, 3).astype(np.float32)
    return field + look.uniform(60, 140, 3).astype(np.float32)


def _paint_shape(x_THWC: np.ndarray, motion: Motion, progress: np.ndarray, swell: np.ndarray,
                 flash: np.ndarray, look: np.random.Generator) -> None:
    """Pastes one textured shape, wrapped around the picture's borders, into every frame."""
    x0, y0 = look.uniform((0, 0), (WIDTH, HEIGHT))
    angle, radius, form = look.uniform(0, 2 * np.pi), look.uniform(8, 11), look.integers(3)
    colours = look.uniform(0, 255, (2, 3)).astype(np.float32)
    for t, travelled in enumerate(progress):
        size = radius * (1 + 0.3 * swell[t])
        # The shape's surroundings, in pixels of the torus and relative to its centre.
        cx, cy = x0 + motion.velocity[0] * travelled, y0 + motion.velocity[1] * travelled
        reach = int(min(size * 1.25, HEIGHT / 2 - 1))
        columns = np.arange(int(cx) - reach, int(cx) + reach + 2)
        rows = np.arange(int(cy) - reach, int(cy) + reach + 2)
        dx, dy = (columns - cx).astype(np.float32)[None], (rows - cy).astype(np.float32)[:, None]
        theta = angle + motion.spin * travelled
        cos, sin = np.float32(np.cos(theta)), np.float32(np.sin(theta))
        u, v = cos * dx + sin * dy, cos * dy - sin * dx
        distance = (np.hypot(u, v), np.maximum(abs(u), abs(v)) * 1.1, (abs(u) + abs(v)) * 0.85)[form]
        mask = np.clip(size - distance + 0.5, 0, 1)[..., None]
        # Two unlike halves, one of them striped: the orientation is visible and unambiguous.
        stripes = 0.5 + 0.5 * np.tanh(3 * np.sin(v * np.float32(6 / radius)))
        blend = (np.clip(u + 0.5, 0, 1) * (0.35 + 0.65 * stripes))[..., None]
        texture = colours[0] * blend + colours[1] * (1 - blend) + np.float32(60 * flash[t])
        place = np.ix_(np.array([t]), rows % HEIGHT, columns % WIDTH)
        x_THWC[place] += (texture - x_THWC[place]) * mask


@dataclass(frozen=True)
class Entry:
    """One row of the set's annotation file."""

    index: int
    path: str
    label: int
    group: int
    split: str


def entries(num_train: int, num_test: int) -> Iterator[Entry]:
    """Yields the rows of a set: classes in turn, groups and containers independent of the class."""
    for index in range(num_train + num_test):
        split = 'train' if index < num_train else 'test'
        turn = index // len(CLASSES)
        suffix = 'mp4' if (index + turn) % 2 == 0 else 'avi'
        yield Entry(index, f'{split}/{index:05d}.{suffix}', index % len(CLASSES), (index + turn) % GROUPS, split)


def generate(root: Path, num_train: int = 240, num_test: int = 400, seed: int = 7, workers: int | None = None) -> Path:
    """Writes a set below `root` and returns its annotation file (``path,label,group,split``; labels from 0).

    The annotation file is removed first and written last: where it exists, the set is complete. A set that these
    arguments and this version of the module made is left as it is.

    Args:
        root: Directory to write to; made if missing.
        num_train: Videos of the split ``train``.
        num_test: Videos of the split ``test``.
        seed: Seed of everything drawn; the same seed gives the same pixels.
        workers: Processes to use; all cores by default.

    Raises:
        StorageError: If a file cannot be written.
    """
    rows = list(entries(num_train, num_test))
    module = sha256(Path(__file__).read_bytes()).hexdigest()
    recipe = dict(num_train=num_train, num_test=num_test, seed=seed, module=module)
    annotations, stamp = root / 'annotations.csv', root / 'recipe.json'
    if annotations.is_file() and stamp.is_file() and stamp.read_text() == json.dumps(recipe):
        return annotations
    try:
        annotations.unlink(missing_ok=True)
        for split in ('train', 'test'):
            (root / split).mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=get_context('forkserver')) as pool:
            for _ in pool.map(partial(_write_entry, root, seed), rows, chunksize=8):
                pass
        stamp.write_text(json.dumps(recipe))
        return _write_annotations(annotations, rows)
    except OSError as error:
        raise StorageError(f'{root}: cannot write the generated videos: {error}') from error


def _write_entry(root: Path, seed: int, row: Entry) -> None:
    write_video(root / row.path, render(row.index, row.label, row.group, seed))


def _write_annotations(file: Path, rows: list[Entry]) -> Path:
    temporary = file.with_suffix('.tmp')
    with temporary.open('w', newline='') as stream:
        writer = csv.writer(stream)
        writer.writerow(['path', 'label', 'group', 'split'])
        writer.writerows([row.path, row.label, f'site{row.group}', row.split] for row in rows)
    return temporary.replace(file)


def write_video(file: Path, frames: np.ndarray, fps: int = FPS) -> None:
    """Encodes frames (T, H, W, 3) uint8 RGB, H and W even: H.264 into ``.mp4``, MPEG-4 part 2 into ``.avi``."""
    import av

    # Presets from veryfast on use x264's mbtree, which reads uninitialised memory on pictures this narrow.
    codec, quality = ('libx264', {'crf': '18', 'preset': 'superfast'}) if file.suffix == '.mp4' else ('mpeg4', {})
    with av.open(str(file), 'w') as container:
        stream = container.add_stream(codec, rate=fps, options=quality)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], 'yuv420p'
        context = stream.codec_context
        context.thread_count = 1
        if codec == 'mpeg4':
            context.qmin = context.qmax = 3
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())
