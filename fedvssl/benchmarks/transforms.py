"""CPU time of CtP's transforms, from decoded frames to the network's input: the published style against ours.

Each chain takes 16 frames in their source size, draws what it needs, and ends with normalised float32 numbers. The
reference, `fedvssl.benchmarks.ctp_reference`, works clip by clip; that its results must still be stacked is not
counted. Ours is what a run does: the dataset's transforms clip by clip, a uint8 batch of the published size (stage
"batch", which also copies what was a view so far), and the preprocessor, which is given the CPU.

All chains run in this process with one thread and take turns batch by batch; every other repeat reverses their order.
The process first does what any training process has done, see `keep_memory`.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from fedvssl import rng
from fedvssl.benchmarks.ctp_reference import run_reference
from fedvssl.benchmarks.measuring import Stopwatch, keep_memory, one_thread, spread, times_faster
from fedvssl.data.clips import transformed
from fedvssl.data.loader import Batch, collate
from fedvssl.data.sampling import RandomClipSampler
from fedvssl.environment import describe_environment
from fedvssl.errors import ConfigError
from fedvssl.models import ClipPreprocessor
from fedvssl.registry import MODELS, TRANSFORMS
from fedvssl.video import open_video

Configs = tuple[dict[str, Any], ...]

FRAMES, STRIDE, BATCH_SIZE = 16, 2, 4
MIN_FRAMES = 48  # of a real video
PER_CLIP: Configs = (
    dict(type='RandomResize', sizes=[112, 128, 144]),
    dict(type='RandomCrop', size=112),
    dict(type='Flip', p=0.5),
)
PER_BATCH: Configs = (
    dict(type='PastePatches'),
    dict(type='BatchHueSaturation', p=0.25, hue=12, saturation=0.1),
    dict(type='DynamicBrightness', p=0.5, delta=30),
    dict(type='DynamicContrast', p=0.5, delta=0.12),
)
STAGES = dict(RandomResize='resize', FastResizeCrop='resize', RandomCrop='crop', Flip='flip', PastePatches='paste',
              BatchHueSaturation='hue', DynamicBrightness='brightness', DynamicContrast='contrast')

# Our chains: transforms of a clip, augmentations of a batch. All draw the same numbers.
FAITHFUL = 'faithful'
FAST_PER_CLIP: Configs = (dict(type='FastResizeCrop', sizes=[112, 128, 144], crop=112), dict(type='Flip', p=0.5))
FAST_PER_BATCH: Configs = tuple({**cfg, 'fast': True} if cfg['type'] == 'BatchHueSaturation' else cfg
                                for cfg in PER_BATCH)
VARIANTS: dict[str, tuple[Configs, Configs]] = {
    FAITHFUL: (PER_CLIP, PER_BATCH),
    'fast hue': (PER_CLIP, FAST_PER_BATCH),
    'fast': (FAST_PER_CLIP, FAST_PER_BATCH),
}
REFERENCE = 'reference'

Lap = Callable[[str], None]


def measure_transforms(clips: int = 80, repeats: int = 9, source_size: tuple[int, int] = (340, 256),
                       compared: int = 240, seed: int = 0, videos: Path | None = None) -> dict[str, Any]:
    """Measures all chains, and how far the fast ones are from the faithful one.

    Args:
        clips: Clips a chain prepares in each repeat, with new draws every time.
        repeats: How often.
        source_size: Width and height of the frames.
        compared: Clips over which the chains' results are compared.
        seed: Seed of clips and draws.
        videos: Directory of real videos; generated pictures if None.

    Returns:
        CPU milliseconds per clip, whole and by stage, ratios, and differences; with hardware and versions.

    Raises:
        ConfigError: If a number is not positive, or there is no video.
    """
    if min(clips, repeats, compared, *source_size) < 1:
        raise ConfigError(f'clips, repeats, compared and source_size must be positive, not {clips}, {repeats}, '
                          f'{compared} and {source_size}')
    files = _long_videos(videos) if videos else []
    with one_thread():
        sources = list(_real_clips(files, clips, source_size, seed) if files else
                       _generated_clips(clips, source_size, seed))
        chains = {REFERENCE: _run_reference} | {name: OurChain(*configs).run for name, configs in VARIANTS.items()}
        watches = _interleaved(chains, sources, repeats, seed)
        differences = {name: _difference(name, sources, compared, seed) for name in VARIANTS if name != FAITHFUL}
        environment = describe_environment()
    totals = {name: [watch.total for watch in runs] for name, runs in watches.items()}
    return dict(
        benchmark='transforms',
        cpu_ms_per_clip={name: spread(values) for name, values in totals.items()},
        times_faster_than_reference={name: times_faster(totals[REFERENCE], totals[name]) for name in VARIANTS},
        stages_cpu_ms={name: _stages(runs) for name, runs in watches.items()},
        difference_to_faithful=differences,
        content='real videos' if files else 'generated pictures',
        videos=[file.name for file in files],
        setting=dict(clips=clips, repeats=repeats, source_size=list(source_size), frames=FRAMES, batch_size=BATCH_SIZE,
                     compared=compared, seed=seed, variants=VARIANTS),
        note='mean CPU time per clip, one thread, chains in turn batch by batch, order reversed every other repeat; a '
             '31 MB block was freed before, so that glibc keeps its memory; the reference is not batched, ours is',
        environment=environment | dict(opencv=cv2.__version__))


class OurChain:
    """Dataset transforms, batch, preprocessor.

    Args:
        per_clip: Configs of the dataset's transforms.
        per_batch: Configs of the preprocessor's augmentations.
    """

    def __init__(self, per_clip: Configs = PER_CLIP, per_batch: Configs = PER_BATCH) -> None:
        self._lap: Lap = lambda stage: None
        self.transforms = [self._timed(cfg, TRANSFORMS.build(cfg)) for cfg in per_clip]
        self.preprocessor = ClipPreprocessor()
        self.preprocessor.augments = [self._timed(cfg, MODELS.build(cfg)) for cfg in per_batch]

    def _timed(self, cfg: Mapping[str, Any], step: Callable) -> Callable:
        def call(*args: Any) -> Any:
            result = step(*args)
            self._lap(STAGES[cfg['type']])
            return result
        return call

    def batch(self, clips: Sequence[np.ndarray], seed: int, *names: rng.Name) -> Batch:
        """Returns the uint8 batch that the loader would give; `names` are the name of the draws."""
        samples = []
        for number, frames in enumerate(clips):
            places = np.arange(len(frames))[None]
            inputs = transformed(frames, places, self.transforms, rng.generator(seed, 'sample', *names, number))
            self._lap('batch')
            samples.append(dict(inputs=inputs, target=0, seed=rng.stream_seed(seed, 'device', *names, number) >> 1))
        return collate(samples)

    def run(self, clips: Sequence[np.ndarray], lap: Lap, seed: int, *names: rng.Name) -> Tensor:
        """Prepares a batch, from decoded clips to the network's input, and calls `lap` after each stage."""
        self._lap = lap
        batch = self.batch(clips, seed, *names)
        lap('batch')
        inputs = self.preprocessor(batch)['inputs']
        lap('normalise')
        return inputs


def _run_reference(clips: Sequence[np.ndarray], lap: Lap, seed: int, *names: rng.Name) -> list[Tensor]:
    return [run_reference(list(frames), rng.generator(seed, 'reference', *names, number), lap)[0]
            for number, frames in enumerate(clips)]


def _interleaved(chains: Mapping[str, Callable], sources: Sequence[np.ndarray], repeats: int,
                 seed: int) -> dict[str, list[Stopwatch]]:
    """Returns for each chain one stop-watch a repeat, with means per clip.

    The chains take turns batch by batch, so that a disturbance hits all alike; at a time they work on different
    batches, so that none finds frames in the cache because another has just read them.
    """
    keep_memory()
    batches = [sources[start:start + BATCH_SIZE] for start in range(0, len(sources), BATCH_SIZE)]
    for run in chains.values():
        run(batches[0], lambda stage: None, seed, 'warm-up')
    watches: dict[str, list[Stopwatch]] = {name: [] for name in chains}
    apart = len(batches) // len(chains)
    for repeat in range(repeats):
        running = {name: Stopwatch() for name in chains}
        for step in range(len(batches)):
            for place, name in list(enumerate(chains))[::-1 if repeat % 2 else 1]:
                number = (step + place * apart) % len(batches)
                running[name].start()
                chains[name](batches[number], running[name], seed, repeat, number)
        for name, watch in running.items():
            watch.divide(len(sources))
            watches[name].append(watch)
    return watches


def _difference(name: str, sources: Sequence[np.ndarray], compared: int, seed: int) -> dict[str, Any]:
    """Compares a chain's pictures with the faithful one's of the same draws, in grey levels of 255."""
    chains = OurChain(*VARIANTS[FAITHFUL]), OurChain(*VARIANTS[name])
    means: list[float] = []
    largest = 0.0
    for start in range(0, compared, BATCH_SIZE):
        clips = [sources[number % len(sources)] for number in range(start, min(start + BATCH_SIZE, compared))]
        right, near = (chain.preprocessor.augmented(chain.batch(clips, seed, 'compared', start))[0]
                       .to(torch.float32).flatten(1) for chain in chains)
        distance = (near - right).abs()
        means += distance.mean(dim=1).tolist()
        largest = max(largest, float(distance.max()))
    return dict(clips=len(means), mean=statistics.mean(means), largest=largest)


def _stages(runs: Sequence[Stopwatch]) -> dict[str, float]:
    """Returns the median of each stage, in the order in which they run."""
    return {stage: statistics.median(run.stages[stage] for run in runs) for stage in runs[0].stages}


def _long_videos(directory: Path) -> list[Path]:
    """Returns the .mp4 and .avi in a directory that have at least `MIN_FRAMES` frames, which leaves out test patterns.

    Raises:
        ConfigError: If there is none.
    """
    files = []
    for file in sorted(path for path in directory.iterdir() if path.suffix in {'.mp4', '.avi'}):
        with open_video(file) as video:
            if len(video) >= MIN_FRAMES:
                files.append(file)
    if not files:
        raise ConfigError(f'{directory}: holds no .mp4 or .avi of at least {MIN_FRAMES} frames')
    return files


def _real_clips(files: Sequence[Path], clips: int, size: tuple[int, int], seed: int) -> Iterator[np.ndarray]:
    """Yields clips uint8 (T, H, W, 3), the videos in turn, each at a random start, in the wanted size."""
    sampler = RandomClipSampler(FRAMES, STRIDE)
    for number in range(clips):
        with open_video(files[number % len(files)]) as video:
            plan = sampler(len(video), rng.generator(seed, 'source', number))
            yield np.stack([_fitted(frame, size) for frame in video.get(plan.indices[0])])


def _fitted(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the middle of a frame in the wanted width and height; its aspect is kept."""
    (height, width), (wide, high) = frame.shape[:2], size
    scale = max(wide / width, high / height)
    scaled = cv2.resize(frame, (max(round(width * scale), wide), max(round(height * scale), high)))
    x, y = (scaled.shape[1] - wide) // 2, (scaled.shape[0] - high) // 2
    return scaled[y:y + high, x:x + wide]


def _generated_clips(clips: int, size: tuple[int, int], seed: int) -> Iterator[np.ndarray]:
    """Yields clips uint8 (T, H, W, 3): a window that moves over smooth random colours."""
    wide, high = size
    for number in range(clips):
        random = rng.generator(seed, 'source', number)
        coarse = random.integers(256, size=(14, 18, 3), dtype=np.uint8)
        canvas = cv2.resize(coarse, (2 * wide, 2 * high), interpolation=cv2.INTER_CUBIC)
        path = np.linspace(random.uniform(0, size), random.uniform(0, size), FRAMES).astype(int)
        yield np.stack([canvas[y:y + high, x:x + wide] for x, y in path])
