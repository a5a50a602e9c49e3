"""What a backbone makes of a few videos while it is being trained: fixed clips, one vector each.

The backbone is a copy, with random numbers and threads of its own, and is gone when the features are there: nothing of
the run is touched. A clip is the middle one of its video, of consecutive frames, as long as the run's own clips, and
goes through the transforms of the held-out videos; what makes the pretext task on the device is left out. Everything is
drawn by the run's seed, so that each measurement sees the same pixels.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from fedvssl import rng
from fedvssl.config import DataConfig, PhaseConfig, RunConfig
from fedvssl.data.annotations import UNLABELLED, Video
from fedvssl.data.dataset import build_dataset, read_videos
from fedvssl.data.loader import build_loader
from fedvssl.errors import BadVideosError, CheckpointError, DataListError
from fedvssl.models import BackboneModel, build_model
from fedvssl.registry import SAMPLERS, build
from fedvssl.sections import require
from fedvssl.weights import read_weights
from fedvssl.weights.loading import match

FEWEST = 4  # videos that a measurement makes sense of
AUGMENTED = ('augments', 'views', 'test_views')  # arguments of a preprocessor: what a probe goes without


@dataclass(frozen=True)
class ProbeConfig:
    """A small labelled set: what a monitor's ``probe`` says. Only the monitor sees the labels.

    Attributes:
        train: Split of the videos whose labels are known; None: the whole list.
        test: Split of those whose labels are guessed.
        size: Videos of each, drawn by the run's seed.
        k: Neighbours that vote; all, where there are fewer.
        temperature: Of their votes.
        root: Where the videos are; this and what follows as in the section ``data``, and by default what it says.
    """

    train: str | None = 'train'
    test: str | None = 'test'
    size: int = 200
    k: int = 20
    temperature: float = 0.07
    root: str | None = None
    annotations: str | None = None
    split_column: str | None = None
    label_base: int | None = None
    extension: str | None = None

    def __post_init__(self) -> None:
        require(self.size >= FEWEST, 'probe.size', f'must be at least {FEWEST}, not {self.size}')
        require(self.k >= 1, 'probe.k', f'must be at least 1, not {self.k}')
        require(self.temperature > 0, 'probe.temperature', f'must be positive, not {self.temperature}')
        require(self.train != self.test, 'probe.test', f'must be another split than probe.train, {self.train!r}')

    def of(self, data: DataConfig) -> DataConfig:
        """Returns a section ``data`` with what is different here."""
        names = ('root', 'annotations', 'split_column', 'label_base', 'extension')
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(data, quarantine=None if {'root', 'annotations'} & given.keys() else data.quarantine, **given)


def choose(data: DataConfig, split: str | None, count: int, seed: int, labelled: bool) -> list[Video]:
    """Draws videos of a split, in the order of their paths, whatever the order of the list.

    Args:
        data: Where they are.
        split: Which rows; all of them if None.
        count: How many; all, if there are fewer.
        seed: Seed of the run.
        labelled: Whether they must have labels; the others' are not read.

    Raises:
        DataListError: If a list is wrong, there are too few videos, or a label is missing.
    """
    videos = sorted(read_videos(data, split), key=lambda video: video.path)
    file, which = Path(data.root) / data.annotations, 'all rows' if split is None else f'split {split!r}'
    if len(videos) < FEWEST:
        raise DataListError(f'{file}: {which}: {len(videos)} videos are too few for a monitor, which needs {FEWEST}')
    places = np.sort(rng.generator(seed, 'monitor').permutation(len(videos))[:count])
    chosen = [videos[place] for place in places]
    if not labelled:
        return [replace(video, label=UNLABELLED) for video in chosen]
    for video in chosen:
        if video.label == UNLABELLED:
            raise DataListError(f'{file}:{video.line}: {video.path} has no label; the probe of a monitor needs it')
    return chosen


def middle_clip(data: DataConfig) -> PhaseConfig:
    """Returns how the videos are read."""
    if data.images is not None:
        return PhaseConfig(None)
    length = build(SAMPLERS, data.train.sampler, 'data.train.sampler').clip_length
    return PhaseConfig(None, dict(type='MidTickSampler', clip_length=length, stride=1, num_clips=1),
                       (data.test or data.train).transforms)


def features(model: BackboneModel, data: DataConfig, videos: Sequence[Video], seed: int) -> tuple[Tensor, Tensor]:
    """Returns float32 features (N, C), the feature maps' means, and int64 labels (N,) of the readable videos.

    Raises:
        BadVideosError: If too many videos are unreadable, or all.
        CheckpointError: If features are not finite.
    """
    dataset = build_dataset(data, middle_clip(data), videos, replace_bad=False)
    found, labels = [], []
    with closing(build_loader(dataset, data.test_batch_size, data.workers)) as loader, torch.inference_mode():
        for batch in loader.in_order(np.arange(len(videos)), seed, 'monitor'):
            inputs = model.data_preprocessor(batch)['inputs']
            found.append(model.features(inputs).flatten(2).mean(dim=2).float().cpu())
            labels.append(batch['data_samples']['target'])
    dataset.check_bad(data.max_bad_videos)
    if not found:
        raise BadVideosError(f'none of the {len(videos)} videos of the probe is readable')
    z_NC = torch.cat(found)
    if not z_NC.isfinite().all():
        raise CheckpointError('features are not finite: has the training diverged?')
    return z_NC, torch.cat(labels)


@contextmanager
def copy_of_model(config: RunConfig, checkpoint: Path | None) -> Iterator[BackboneModel]:
    """Gives a run's model, in evaluation mode and without batch augmentations, on the run's device.

    Where batch norms, or their statistics, stay with the clients, those of the batch take their place.

    Args:
        config: The run.
        checkpoint: A commit of its own, with the backbone; None: the initial weights.

    Raises:
        CheckpointError: If the commit is missing or damaged.
    """
    device, threads = torch.device(config.runtime.device), torch.get_num_threads()
    preprocessor = {key: value for key, value in config.model['data_preprocessor'].items() if key not in AUGMENTED}
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        try:
            torch.set_num_threads(config.runtime.threads)
            model = build_model(dict(config.model, data_preprocessor=preprocessor), config.seed).to(device).eval()
            if checkpoint is not None:
                _load(model, checkpoint)
            yield model
        finally:
            torch.set_num_threads(threads)


def _load(model: BackboneModel, checkpoint: Path) -> None:
    """Loads the backbone of a commit."""
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith('backbone.')}
    tensors = read_weights(checkpoint)
    report = match(own, tensors, checkpoint, without_norms=True)
    with torch.no_grad():
        for name in report.matched:
            own[name].copy_(tensors[name])
    if report.stayed:
        for module in model.backbone.modules():
            module.train(isinstance(module, _BatchNorm))
