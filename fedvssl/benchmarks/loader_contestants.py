"""The sides of the loader's benchmark. All of them load the same frames: those that our sampler draws."""

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fedvssl import rng
from fedvssl.benchmarks.frame_check import Shown
from fedvssl.benchmarks.lanes import WARM_UP
from fedvssl.benchmarks.loader_cases import CROP, Case, Pattern
from fedvssl.benchmarks.loader_reference import PublishedZip, Stock
from fedvssl.config import from_dict
from fedvssl.data.annotations import UNLABELLED, Video
from fedvssl.data.dataset import ClipDataset, build_clips
from fedvssl.registry import SAMPLERS, TRANSFORMS, build
from fedvssl.video import open_video

SEED, NAME = 7, 'benchmark'
CHECK = WARM_UP - 1
"""The repeat that is not timed but checked."""


def drawn(pattern: Pattern, frames: int, number: int) -> tuple[np.ndarray, np.random.Generator]:
    """Returns the frame numbers (M, T) of a clip of a video of so many frames, and what its transforms draw from."""
    random = rng.generator(SEED, 'sample', NAME, number)
    return build(SAMPLERS, pattern.sampler, 'data sampler')(frames, random).indices, random


@dataclass
class Ours:
    """Our dataset, as a run builds it.

    Args:
        file: The video.
        root: Where the data set is made: as many videos as there are clips, all of them the same.
        pattern: Which clips.
        clips: How many.
        fast: Whether to take `FastResizeCrop`.
        workers: 0 to load in this process, 1 in one of its own as runs do by default.
        cold: Whether each repeat has a data set of its own, whose files nobody has opened before.
    """

    file: Path
    root: Path
    pattern: Pattern
    clips: int
    fast: bool = False
    workers: int = 0
    cold: bool = False
    _dataset: ClipDataset | None = None

    def begin(self, repeat: int) -> Callable[[int], np.ndarray]:
        """See `Contestant`."""
        if self.cold or self._dataset is None:
            self._dataset = self._built(self.root / f'cold{repeat}' if self.cold else self.root)
        if self.workers:
            self._load(0)  # starts the process
        return self._load

    def _load(self, number: int) -> np.ndarray:
        assert self._dataset is not None
        sample = self._dataset.load(number, SEED, NAME)
        if sample is None:
            raise RuntimeError(f'{self.file}: {self._dataset.bad}')
        return sample['inputs']

    def _built(self, root: Path) -> ClipDataset:
        root.mkdir(exist_ok=True)
        videos = []
        for number in range(self.clips):
            name = f'{number:05d}{self.file.suffix}'
            if not (root / name).exists():
                os.link(self.file, root / name)
            videos.append(Video(name, UNLABELLED, {}, number + 1))
        train = dict(split=None, sampler=self.pattern.sampler, transforms=self.pattern.transforms(self.fast))
        values: dict[str, Any] = dict(model={}, optim_wrapper={}, schedule={},
                                      data=dict(root=str(root), train=train, workers=self.workers))
        data = from_dict(values).data
        return build_clips(data, data.train, videos, replace_bad=False)

    def shown(self, frames: int) -> list[Shown]:
        """Loads all clips of a video of so many frames, to be checked."""
        load = self.begin(CHECK)
        steps = _steps(self.pattern, self.fast)
        found = []
        for number in range(self.clips):
            indices_MT, random = drawn(self.pattern, frames, number)
            pixels = load(number)
            found.append(Shown(pixels.reshape(-1, *pixels.shape[2:]), indices_MT.ravel(), _Replayed(steps, random)))
        return found


def _steps(pattern: Pattern, fast: bool) -> list[Callable]:
    return [build(TRANSFORMS, cfg, 'data transforms') for cfg in pattern.transforms(fast)]


@dataclass(frozen=True)
class _Replayed:
    """Transforms that make the same draws again and again."""

    steps: Sequence[Callable]
    random: np.random.Generator

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return _applied(self.steps, frames, copy.deepcopy(self.random))


@dataclass
class Theirs:
    """mmaction2 on decord, or CtP's way with zips. The clips of a tuple are read in the order of the video."""

    file: Path
    case: Case
    clips: int
    frames: int

    def begin(self, repeat: int) -> Callable[[int], Any]:
        """See `Contestant`."""
        reference, plans = self._reference(), self._plans()
        return lambda number: reference.load(self.file, plans[number])

    def shown(self) -> list[Shown]:
        """Decodes all clips, to be checked."""
        reference = self._reference()
        return [Shown(reference.frames(self.file, plan.ravel()), plan.ravel()) for plan in self._plans()]

    def _plans(self) -> list[np.ndarray]:
        plans = (drawn(self.case.pattern, self.frames, number)[0] for number in range(self.clips))
        return [plan[np.argsort(plan[:, 0])] for plan in plans]

    def _reference(self) -> Stock | PublishedZip:
        size, flip = self.case.pattern.size, self.case.pattern.flip
        if not self.case.published:
            return Stock(size, CROP, flip)
        assert not isinstance(size, int)
        return PublishedZip(size, CROP)


@dataclass
class Transforms:
    """The transforms alone, on decoded frames: mmaction2's, or ours (which of them, see `Ours`).

    Two clips are worked on in turn, so that the frames are in the processor's cache as if just decoded.
    """

    file: Path
    pattern: Pattern
    ours: bool
    fast: bool = False
    _sources: list[np.ndarray] | None = None

    def begin(self, repeat: int) -> Callable[[int], np.ndarray]:
        """See `Contestant`."""
        sources = self._sources = self._sources or list(self._decoded())
        if not self.ours:
            stock = Stock(self.pattern.size, CROP, self.pattern.flip)
            return lambda number: stock.transform(sources[number % len(sources)])
        steps, random = _steps(self.pattern, self.fast), rng.generator(SEED, 'transforms', repeat)
        return lambda number: _applied(steps, sources[number % len(sources)], random)

    def _decoded(self) -> Iterator[np.ndarray]:
        with open_video(self.file) as video:
            for number in range(2):
                frames = video.get(drawn(self.pattern, len(video), number)[0].ravel())
                assert isinstance(frames, np.ndarray)
                yield frames


def _applied(steps: Sequence[Callable], frames: np.ndarray, random: np.random.Generator) -> np.ndarray:
    for step in steps:
        frames = step(frames, random)
    return frames


def contestants(case: Case, ours: Path, theirs: Path, root: Path, clips: int, frames: int) -> dict[str, Any]:
    """Returns the sides of a case by name; the first is the one to beat.

    Args:
        case: The case.
        ours: What our side reads.
        theirs: What the other side reads.
        root: An empty directory.
        clips: How many each side loads.
        frames: Length of either video.
    """
    other = 'published' if case.published else 'stock'
    if case.decoded:
        return {other: Transforms(theirs, case.pattern, ours=False)} | {
            name: Transforms(ours, case.pattern, ours=True, fast=name == 'fast') for name in ('faithful', 'fast')}
    faithful = Ours(ours, root / 'warm', case.pattern, clips)
    return {other: Theirs(theirs, case, clips, frames), 'faithful': faithful, 'fast': replace(faithful, fast=True),
            'cold': replace(faithful, root=root, cold=True), 'worker': replace(faithful, workers=1)}
