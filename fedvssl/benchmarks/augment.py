"""Views a second that SimCLR's augmentation makes of small images: ours, Pillow's, kornia's.

All do the same operations with the same distributions of parameters, from a uint8 batch to floats; on one thread of
this process, in turns, every other repeat in reversed order. Seconds are those of the CPU. The process first does what
any training process has done, see `keep_memory`. Judged are Pillow as torchvision's transforms use it, Pillow in a lean
variant (see `augment_peers`), and kornia with the faster of its two ways of cropping.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from fedvssl.benchmarks.augment_peers import PillowPipeline, Pipeline, kornia_pipeline
from fedvssl.benchmarks.measuring import keep_memory, one_thread, spread, times_faster
from fedvssl.environment import describe_environment
from fedvssl.errors import ConfigError
from fedvssl.models.augments.image.views import augment, build_views
from fedvssl.models.image.simclr import nt_xent

OURS, PILLOW, LEAN, KORNIA = 'ours', 'pillow', 'lean pillow', 'kornia'
KORNIA_CROPPING = ('slice', 'resample')
JITTER = (0.4, 0.4, 0.4, 0.1)  # SimCLR's on CIFAR: strength 0.5
CASES = {'crop, flip, jitter, grey': 0.0, 'crop, flip, jitter, grey, blur': 0.5}  # probability of the blur
BARS = {PILLOW: 8.0, LEAN: 8.0, KORNIA: 3.0}

NT_XENT = dict(batch=256, dimensions=128)
NT_XENT_BAR = 10.0  # CPU milliseconds

Report = Callable[[str, Mapping[str, Any]], None]


def measure_augment(batch: int = 256, size: int = 32, batches: int = 4, repeats: int = 9, seed: int = 0,
                    report: Report = lambda name, case: None) -> dict[str, Any]:
    """Measures all pipelines.

    Args:
        batch: Images of a batch.
        size: Their side in pixels.
        batches: Batches a pipeline takes in each repeat.
        repeats: How often.
        seed: Seed of images and parameters.
        report: Told name and figures of each case.

    Returns:
        JSON values: by case, ``views_per_second`` by pipeline, ``times_faster`` than each peer, ``bars``; ``nt_xent``,
        the cost of SimCLR's loss; with hardware and versions, and ``missing``, a note, where kornia is.

    Raises:
        ConfigError: If a number is not positive, or Pillow is not installed.
    """
    if min(batch, size, batches, repeats) < 1:
        raise ConfigError(f'batch, size, batches and repeats must be positive, not {batch}, {size}, {batches} and '
                          f'{repeats}')
    cases, missing = {}, None
    with one_thread():
        keep_memory()
        for name, blur in CASES.items():
            pipelines, missing = _pipelines(blur, size, seed)
            seconds = _interleaved(pipelines, _images(batch, size, batches, seed), repeats)
            cases[name] = _summary(seconds, batch * batches)
            report(name, cases[name])
        contrast = _contrast(repeats, seed)
        environment = describe_environment()
    environment['packages'] |= {package: _version(package) for package in ('pillow', 'kornia', 'kornia-rs')}
    return dict(benchmark='augment', cases=cases, missing=missing, nt_xent=contrast,
                setting=dict(batch=batch, size=size, batches=batches, repeats=repeats, seed=seed, jitter=JITTER,
                             views=[_configs(blur, size) for blur in CASES.values()]),
                note='views per CPU second, one thread, pipelines in turn, order reversed every other repeat; '
                     'ratios repeat by repeat', environment=environment)


def _contrast(repeats: int, seed: int) -> dict[str, Any]:
    """Returns what SimCLR's loss costs after that, forward and backward, in CPU milliseconds."""
    generator = torch.Generator().manual_seed(seed)
    views = [torch.randn(NT_XENT['batch'], NT_XENT['dimensions'], generator=generator).requires_grad_() for _ in '12']
    milliseconds = []
    for _ in range(repeats + 1):  # the first is to warm up
        begun = time.process_time()
        nt_xent(views[0], views[1], 0.5).backward()
        milliseconds.append(1e3 * (time.process_time() - begun))
    found = spread(milliseconds[1:])
    return dict(NT_XENT, cpu_ms=found, bar=NT_XENT_BAR, met=found['median'] <= NT_XENT_BAR)


def _configs(blur: float, size: int) -> list[dict[str, Any]]:
    """Returns our operations."""
    brightness, contrast, saturation, hue = JITTER
    ops: list[dict[str, Any]] = [
        dict(type='ResizedCrop', size=size),
        dict(type='ColorJitter', brightness=brightness, contrast=contrast, saturation=saturation, hue=hue, p=0.8),
        dict(type='Grayscale', p=0.2)]
    return ops + [dict(type='GaussianBlur', p=blur, kernel_size=3)] if blur else ops


def _pipelines(blur: float, size: int, seed: int) -> tuple[dict[str, Pipeline], str | None]:
    """Returns the pipelines by name, and a note on one that is missing."""
    views = build_views([_configs(blur, size)])
    generator = torch.Generator().manual_seed(seed)
    pipelines: dict[str, Pipeline] = {OURS: lambda images: augment(images, views, generator)[0],
                                      PILLOW: PillowPipeline(JITTER, blur, seed),
                                      LEAN: PillowPipeline(JITTER, blur, seed, lean=True)}
    try:
        for cropping in KORNIA_CROPPING:
            pipelines[f'{KORNIA} ({cropping})'] = kornia_pipeline(JITTER, blur, size, seed, cropping)
    except ImportError as error:
        return pipelines, f'kornia was left out: {error}; pip install --no-deps kornia kornia-rs'
    return pipelines, None


def _images(batch: int, size: int, batches: int, seed: int) -> list[Tensor]:
    """Returns batches uint8 (B, H, W, 3) of smooth colours under some noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batches * batch, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode='bilinear')
    noisy = smooth + 0.05 * torch.randn(smooth.shape, generator=generator)
    return list((255 * noisy.clamp(0, 1)).to(torch.uint8).permute(0, 2, 3, 1).contiguous().split(batch))


def _interleaved(pipelines: Mapping[str, Pipeline], batches: Sequence[Tensor], repeats: int) -> dict[str, list[float]]:
    """Returns the CPU seconds of each repeat."""
    for run in pipelines.values():
        run(batches[0])
    seconds: dict[str, list[float]] = {name: [0.0] * repeats for name in pipelines}
    for repeat in range(repeats):
        for name in list(pipelines)[::-1 if repeat % 2 else 1]:
            begun = time.process_time()
            for images in batches:
                pipelines[name](images)
            seconds[name][repeat] = time.process_time() - begun
    return seconds


def _summary(seconds: Mapping[str, list[float]], views: int) -> dict[str, Any]:
    """Returns rates, ratios and bars of a case."""
    faster = {name: times_faster(runs, seconds[OURS]) for name, runs in seconds.items() if name != OURS}
    bars = []
    for peer, bar in BARS.items():
        ways = [name for name in faster if name.startswith(peer)]
        if ways:
            against = min(ways, key=lambda name: statistics.median(seconds[name]))
            measured = faster[against]['median']
            bars.append(dict(than=against, times_faster=bar, measured=measured, met=measured >= bar))
    return dict(views_per_second={name: spread(views / run for run in runs) for name, runs in seconds.items()},
                times_faster=faster, bars=bars)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
