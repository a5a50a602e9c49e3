"""Decoding by each backend, on the CPU or on a GPU: frames a second by number of threads, CPU time, wrong frames.

Every frame of the videos carries its number. Two ways of reading are measured: the whole video, in pieces that begin at
a key frame, so that every frame that is decoded is wanted; and clips of 16 frames, stride 2, at random places, each of
them with opening and closing, as a loader does. Nobody resizes frames. Each thread opens its own readers.

Frames a second are elapsed time, since that is what a GPU is for; they mean something on a machine that does nothing
else. CPU time is that of this process and its children.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np

from fedvssl import rng
from fedvssl.benchmarks.loader_files import X264, Material, encode, moving_pictures
from fedvssl.benchmarks.measuring import CpuClock, one_thread, spread
from fedvssl.benchmarks.numbered import numbered, wrong_numbers
from fedvssl.environment import describe_environment
from fedvssl.errors import ConfigError, suggest
from fedvssl.video import BACKENDS, BackendUnavailableError, FrameReader, VideoDecodeError, open_video
from fedvssl.video.backends import AUTO
from fedvssl.video.index_cache import IndexCache
from fedvssl.video.reader import Frames
from fedvssl.video.transcoding.encoding import Encoding
from fedvssl.video.transcoding.transcode import transcode

GOP, PIECE, LENGTH, STRIDE = 12, 48, 16, 2
BAR = dict(g12=8000)  # decoded frames a second on a GPU
PICTURES = frozenset({'frames', 'zip-jpeg'})  # backends that read no videos
ON_GPU = '-cuda'  # how the names of backends end that decode on a GPU

Request = Sequence[int]


def measure_decoding(device: str = 'cpu', backends: Sequence[str] = (), threads: Sequence[int] = (1,), clips: int = 32,
                     repeats: int = 3, material: Material | None = None, seed: int = 0,
                     report: Callable[[str, str, dict[str, Any]], None] = lambda file, backend, result: None,
                     ) -> dict[str, Any]:
    """Measures the backends on three files.

    Args:
        device: Where frames are wanted, ``'cpu'`` or ``'cuda'``.
        backends: Names as `open_video` takes them; by default all that could decode there.
        threads: Numbers of threads to try.
        clips: Clips that are read in each repeat.
        repeats: How often.
        material: Length and sizes of the files.
        seed: Seed of the clips' places.
        report: Called with file, backend and result when they are there.

    Returns:
        By file and backend: what really ran, wrong frames, rates and CPU time; with hardware and versions.

    Raises:
        ConfigError: If there is no such device or backend, or a number is not positive.
    """
    _check_device(device)
    material = material or Material()
    backends = _checked(device, backends)
    if min(*threads, clips, repeats, 1) < 1:
        raise ConfigError(f'threads, clips and repeats must be positive, not {threads}, {clips} and {repeats}')
    files: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as directory, one_thread():
        for name, path in _made(Path(directory), material):
            places = rng.generator(seed, 'clips').integers(material.frames - LENGTH * STRIDE, size=clips)
            requests = [range(place, place + LENGTH * STRIDE, STRIDE) for place in places.tolist()]
            results = {}
            for backend in backends:
                results[backend] = _measured(_Subject(path, backend, device), material.frames, requests, threads,
                                             repeats)
                report(name, backend, results[backend])
            files[name] = dict(bytes=path.stat().st_size, bar_frames_per_second=BAR.get(name), backends=results)
        environment = describe_environment()
    return dict(
        benchmark='decoding', device=device, files=files,
        setting=dict(threads=list(threads), clips=clips, repeats=repeats, material=vars(material), seed=seed,
                     piece=PIECE, clip_length=LENGTH, stride=STRIDE),
        note='frames per second are elapsed time; CPU time is that of the process and its children, per clip; see '
             'fedvssl/benchmarks/decoding.py',
        environment=environment)


def _check_device(device: str) -> None:
    import torch

    if device != 'cpu' and not torch.cuda.is_available():
        raise ConfigError(f'--device {device}: torch {torch.__version__} finds no CUDA device; take --device cpu')


def _checked(device: str, backends: Sequence[str]) -> list[str]:
    """Returns the backends, or those to take by default."""
    for name in backends:
        if name not in (AUTO, *BACKENDS) or name in PICTURES:
            raise ConfigError(f'--backends {name}: no such video backend{suggest(name, {AUTO, *BACKENDS} - PICTURES)}')
    if backends:
        return list(backends)
    on_cpu = [name for name in BACKENDS if name not in PICTURES and not name.endswith(ON_GPU)]
    return on_cpu if device == 'cpu' else [AUTO, *(name for name in BACKENDS if name.endswith(ON_GPU))]


def _made(directory: Path, material: Material) -> Iterator[tuple[str, Path]]:
    """Yields the files: raw, prepared, and large."""
    raw = encode(directory / 'g12.mp4', numbered(moving_pictures(material.frames, material.size)), 'libx264', X264, GOP)
    yield 'g12', raw
    for _ in transcode(raw, directory / 'intra.mp4', Encoding(short_side=material.short_side)):
        pass
    yield 'intra', directory / 'intra.mp4'
    large = numbered(moving_pictures(material.frames, material.large))
    yield '720p', encode(directory / '720p.mp4', large, 'libx264', X264, GOP)


class _Subject:
    """A file, read by one backend. Can be used by several threads."""

    def __init__(self, path: Path, backend: str, device: str) -> None:
        self._path, self._backend = path, backend
        self.device = device
        self._indices = IndexCache(path.parent)
        self.ran = ''

    def open(self) -> FrameReader:
        return open_video(self._path, self._backend, indices=self._indices, device=self.device)

    def clip(self, request: Request) -> Frames:
        """Opens the file and returns a clip."""
        with self.open() as video:
            self.ran = video.backend
            return video.get(request)

    def whole(self, frames: int) -> Iterator[tuple[Request, Frames]]:
        """Opens the file and yields all its frames in pieces."""
        with self.open() as video:
            for start in range(0, frames, PIECE):
                request = range(start, min(start + PIECE, frames))
                yield request, video.get(request)

    def wrong(self, frames: int, requests: Sequence[Request]) -> int:
        """Reads everything once and counts the frames that are not the right ones."""
        clips = sum(wrong_numbers(_on_cpu(self.clip(request)), request) for request in requests)
        return clips + sum(wrong_numbers(_on_cpu(piece), request) for request, piece in self.whole(frames))


def _on_cpu(frames: Frames) -> np.ndarray:
    return frames if isinstance(frames, np.ndarray) else frames.cpu().numpy()


def _measured(subject: _Subject, frames: int, requests: Sequence[Request], threads: Sequence[int],
              repeats: int) -> dict[str, Any]:
    try:
        wrong = subject.wrong(frames, requests)
    except (BackendUnavailableError, VideoDecodeError) as error:
        return dict(error=str(error))
    rates = [_rates(subject, frames, requests, number, repeats) for number in threads]
    fell_back = subject.device != 'cpu' and not subject.ran.endswith(ON_GPU)
    return dict(ran=subject.ran, fell_back=fell_back, wrong_frames=wrong,
                frames_checked=frames + LENGTH * len(requests), by_threads=rates)


def _rates(subject: _Subject, frames: int, requests: Sequence[Request], threads: int, repeats: int) -> dict[str, Any]:
    """Measures both ways of reading with so many threads."""
    fps, clips_per_second, cpu_ms = [], [], []
    with ThreadPoolExecutor(threads) as pool:
        ready = Barrier(threads)
        for _ in pool.map(lambda _: _warmed(subject, requests[0], ready), range(threads)):
            pass
        for _ in range(repeats):
            elapsed, _ = _timed(lambda: list(pool.map(lambda _: _exhaust(subject.whole(frames)), range(threads))))
            fps.append(threads * frames / elapsed)
            elapsed, cpu = _timed(lambda: list(pool.map(lambda request: _exhaust([subject.clip(request)]), requests)))
            clips_per_second.append(len(requests) / elapsed)
            cpu_ms.append(1e3 * cpu / len(requests))
    return dict(threads=threads, decoded_frames_per_second=spread(fps), clips_per_second=spread(clips_per_second),
                cpu_ms_per_clip=spread(cpu_ms))


def _warmed(subject: _Subject, request: Request, ready: Barrier) -> None:
    """Reads a clip in each thread of a pool: nobody goes on before all are here."""
    ready.wait()
    subject.clip(request)


def _exhaust(pieces: Any) -> None:
    """Takes everything and keeps nothing."""
    for _ in pieces:
        pass


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Returns elapsed and CPU seconds; work on a GPU is waited for."""
    import torch

    clock = CpuClock()
    begun, cpu = time.perf_counter(), clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun, clock() - cpu
