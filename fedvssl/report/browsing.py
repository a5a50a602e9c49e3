"""What the model sees: a few samples after all sampling, transforms and augmentations, just before normalisation.

Nothing is done anew here. Samples come from the config's `ClipDataset`, are collated as the loader does it, and go
through the model's own preprocessor; who made the target says what it means (`fedvssl.data.description`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedvssl import rng
from fedvssl.config import PhaseConfig, RunConfig
from fedvssl.data.dataset import REPLACEMENTS, ClipDataset, build_clips, read_videos
from fedvssl.data.description import Description, describe
from fedvssl.data.loader import collate
from fedvssl.errors import BadVideosError, ConfigError, suggest
from fedvssl.models import VideoModel
from fedvssl.registry import MODELS, build
from fedvssl.report.sheet import Block, Row, contact_sheet, write_png

PHASES = ('train', 'test')

LEGEND = 'Pixels as the model gets them, before normalisation. One row per clip, in its order; time runs to the right.'


@dataclass(frozen=True)
class Sight:
    """One sample as the model sees it.

    Attributes:
        path: The video, relative to the data root.
        clips: uint8 or float32 (M, T, H, W, 3) on the 0..255 scale.
        description: What the target means.
    """

    path: str
    clips: np.ndarray
    description: Description

    @property
    def pixels(self) -> np.ndarray:
        """The clips as they can be shown, uint8: rounded where an augmentation made fractions."""
        return np.rint(self.clips).clip(0, 255).astype(np.uint8)


class Browser:
    """The samples of one phase of a config.

    Videos are drawn from the whole split. Clips are drawn from the stream of evaluation in phase test, so that they are
    those on which a run of this seed is tested, and from a stream of their own in phase train.

    Args:
        config: The run.
        phase: ``train`` or ``test``.
        seed: Seed of all draws; the run's by default.

    Raises:
        FedVSSLError: If there is no such phase, a list is wrong, or a part of the config cannot be built.
    """

    def __init__(self, config: RunConfig, phase: str = 'train', seed: int | None = None) -> None:
        if phase not in PHASES:
            raise ConfigError(f'phase: unknown phase {phase!r}{suggest(phase, PHASES)}')
        settings: PhaseConfig | None = getattr(config.data, phase)
        if settings is None:
            raise ConfigError(f'data.{phase}: phase {phase!r} needs it and the config does not have it')
        self.config, self.phase, self.settings = config, phase, settings
        self.seed = config.seed if seed is None else seed
        # `replace_bad` would not tell which video came in: `samples` takes the next one itself.
        self.dataset: ClipDataset = build_clips(config.data, settings, read_videos(config.data, settings.split),
                                                replace_bad=False)
        self.model: VideoModel = build(MODELS, config.model, 'model')

    def samples(self, count: int) -> list[Sight]:
        """Returns `count` samples of different videos, or all there are; an unreadable video is left out.

        Raises:
            ConfigError: If `count` is below 1.
            BadVideosError: If none is readable, or as many in a row are not as a training run would try.
        """
        if count < 1:
            raise ConfigError(f'samples: must be at least 1, not {count}')
        sights: list[Sight] = []
        missed = 0
        for index in rng.generator(self.seed, 'browse').permutation(len(self.dataset)):
            sight = self._see(int(index))
            missed = 0 if sight else missed + 1
            if sight:
                sights.append(sight)
            if len(sights) == count or missed > REPLACEMENTS:
                break
        if missed > REPLACEMENTS or not sights:
            reasons = list(self.dataset.bad.values())
            raise BadVideosError(f'{missed} videos in a row are unreadable; first reason: {reasons[-missed]}')
        return sights

    def _see(self, index: int) -> Sight | None:
        names = ('test',) if self.phase == 'test' else ('browse',)
        sample = self.dataset.load(index, self.seed, *names)
        if sample is None:
            return None
        preprocessor = self.model.data_preprocessor
        clips, samples = preprocessor.augmented(collate([sample]))
        makers = (*reversed(preprocessor.augments), self.dataset.sampler, self.model)
        return Sight(self.dataset.videos[index].path, clips[0].numpy(), describe(samples['target'][0].numpy(), makers))

    def header(self, name: str, sights: list[Sight]) -> list[str]:
        """Returns what stands above samples: the config's name, split, seed, geometry, model and pipeline."""
        data, model = self.config.data, self.config.model
        shapes = sorted({sight.clips.shape[:4] for sight in sights})
        geometry = ' or '.join(' x '.join(map(str, shape)) for shape in shapes)
        split = 'all videos' if self.settings.split is None else f'{data.split_column} {self.settings.split!r}'
        steps = [self.settings.sampler, *self.settings.transforms, *model['data_preprocessor'].get('augments', ())]
        lines = [f'{name}   {self.phase}: {split}   seed {self.seed}',
                 f'{model["type"]} on {model["backbone"]["type"]}   {geometry} (clips x frames x height x width)',
                 ' > '.join(str(step['type']) for step in steps), LEGEND]
        if self.dataset.bad:
            lines.append(f'left out, because unreadable: {", ".join(self.dataset.bad)}')
        return lines


def block(sight: Sight) -> Block:
    """Returns a sample's part of the sheet: a row for each clip and, where there are boxes, one with them."""
    description, pixels = sight.description, sight.pixels
    several = [f'clip {clip}' for clip in range(len(pixels))] if len(pixels) > 1 else ['']
    labels = description.clips or several
    caption = description.caption
    if description.tracks is not None:
        caption += '; below with their boxes, the target, and the path of each centre so far'
    rows = []
    for clip, (label, frames) in enumerate(zip(labels, pixels, strict=True)):
        rows.append(Row(label, frames))
        if description.tracks is not None:
            boxes = description.tracks[clip] * min(frames.shape[1:3])
            rows.append(Row(f'{label} boxes'.strip(), frames, boxes))
    return Block(sight.path, caption, rows)


def browse(config: RunConfig, name: str, file: Path, phase: str = 'train', count: int = 4,
           seed: int | None = None) -> list[Sight]:
    """Writes a contact sheet of `count` samples.

    Args:
        config: The run.
        name: What the header calls it.
        file: PNG to write.
        phase: ``train`` or ``test``.
        count: Samples to show.
        seed: Seed of all draws; the run's by default.

    Returns:
        The samples.

    Raises:
        FedVSSLError: For wrong arguments, a wrong list, unreadable videos, or a file that cannot be written.
    """
    browser = Browser(config, phase, seed)
    sights = browser.samples(count)
    write_png(file, contact_sheet(browser.header(name, sights), [block(sight) for sight in sights]))
    return sights
