"""What a backbone makes of videos: one vector each, for kNN, retrieval and the linear probe on kept features.

All clips of a video that the config's ``data.test`` takes (published: 10 at mid-ticks) go through the backbone in
evaluation mode; each feature map (C, T', H', W') is averaged over an adaptive grid (t, h, w) and flattened, and the
mean over the clips is the video's vector. With t, h, w = 1, 1, 1 that is C numbers; retrieval keeps 2, 3, 3, which are
9,216 at width 64. FedVSSL, ``test_clip_retrieval2.py``, does the same; VCOP's own retrieval takes the maximum.

One pass over the videos makes the vectors of every grid that some evaluation of the config wants.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedvssl.config import RunConfig, identity
from fedvssl.data.annotations import Video, resolve
from fedvssl.data.dataset import Dataset, build_dataset, list_digests
from fedvssl.data.loader import Batch, build_loader
from fedvssl.data.probe_cache import signature_of
from fedvssl.environment import describe_environment
from fedvssl.errors import BadVideosError, CheckpointError, FedVSSLError
from fedvssl.evaluation.feature_store import Features, FeatureStore
from fedvssl.evaluation.labelled import labelled_videos, test_phase
from fedvssl.sections import EvaluationConfig
from fedvssl.training.trainer import build_trainer
from fedvssl.weights import load_backbone, read_weights

logger = logging.getLogger('fedvssl')

Grid = tuple[int, int, int]  # frames, height, width
RANDOM = 'random'  # in place of a checkpoint: the initial weights
GLOBAL_POOL: Grid = (1, 1, 1)
CLIPS_AT_ONCE = 8  # through the backbone: memory does not grow with the clips of a video
FORMAT = 2  # of the kept features; what changes them without changing any fact below raises it
SEED = 0  # of what a sampler that is not fixed would draw, so that features do not depend on the run's seed


def extract(config: RunConfig, split: str | None, checkpoint: str, pool: Grid = GLOBAL_POOL,
            directory: Path | None = None) -> Features:
    """Extracts the features of one split, or finds them on the disk (arguments as `Extractor`)."""
    return Extractor(config, checkpoint, directory)(split, pool)


class Extractor:
    """A backbone with its weights, ready to extract features.

    Args:
        config: A run whose model learns labels; only the backbone of the model counts.
        checkpoint: Where the backbone comes from, as `read_weights` takes it; ``'random'``: initial weights by the
            run's seed.
        directory: Where features are kept; None keeps none.

    Attributes:
        weights: What became of the checkpoint's tensors, or ``'random'``.
        digest: SHA-256 of the backbone.

    Raises:
        ConfigError: If the config is not one of an evaluation.
        CheckpointError: If the checkpoint holds no such backbone, or is damaged.
    """

    def __init__(self, config: RunConfig, checkpoint: str, directory: Path | None = None) -> None:
        self.config, self.checkpoint, self.phase = config, checkpoint, test_phase(config)
        self.store = FeatureStore(directory)
        self.trainer = build_trainer(config)
        model = self.trainer.model
        self.weights = RANDOM if checkpoint == RANDOM else str(load_backbone(model, read_weights(checkpoint),
                                                                             checkpoint))
        self.digest = weights_digest(model.backbone)

    def __call__(self, split: str | None, pool: Grid = GLOBAL_POOL) -> Features:
        """Returns the features of a split.

        Args:
            split: Which rows; all of them if None.
            pool: Frames, height and width to average the feature maps to; clipped to their size.

        Raises:
            DataListError: If a list is wrong, or the split has no videos or lacks labels.
            BadVideosError: If too many videos are unreadable.
            CheckpointError: If features are not finite.
        """
        videos = labelled_videos(self.config, split)
        facts = self._facts(videos)
        with self.store.claimed(facts):  # whoever comes second finds what the first has made
            features = self.store.read(dict(facts, pool=list(pool)))
            if features is None:
                sets = self._extract(videos, sorted({pool, GLOBAL_POOL, retrieval_pool(self.config)}))
                kept = {size: self.store.keep(dict(facts, pool=list(size)), found) for size, found in sets.items()}
                features = kept[pool]
        self._check_bad(features, videos)
        return features

    def _extract(self, videos: list[Video], sizes: Sequence[Grid]) -> dict[Grid, Features]:
        data, begun = self.config.data, time.perf_counter()
        dataset = build_dataset(data, self.phase, videos, replace_bad=False, device=self.config.runtime.device)
        with closing(build_loader(dataset, data.test_batch_size, data.workers)) as loader:
            batches = loader.in_order(np.arange(len(videos)), SEED, 'features')
            pooled = self._pass(batches, len(videos), sizes)
            dataset.check_bad(data.max_bad_videos)
        if not pooled:
            raise BadVideosError(f'none of {len(videos)} videos is readable; first reason: '
                                 f'{next(iter(dataset.bad.values()))}')
        return {size: self._features(dataset, *pooled[size], time.perf_counter() - begun) for size in sizes}

    def _pass(self, batches: Iterable[Batch], most: int,
              sizes: Sequence[Grid]) -> dict[Grid, tuple[np.ndarray, Grid]]:
        """Runs the backbone; returns vectors and effective grid by size, nothing if there was no batch."""
        made: dict[Grid, tuple[np.ndarray, Grid]] = {}
        done = 0
        with self.trainer.evaluating() as model:
            for batch in batches:
                inputs = model.data_preprocessor(batch)['inputs']
                clips_of, clips = (inputs, 1) if inputs.ndim == 4 else (inputs.flatten(0, 1), inputs.shape[1])
                number = len(inputs)
                parts = [_pooled(as_clips(model.backbone(part)), sizes) for part in clips_of.split(CLIPS_AT_ONCE)]
                for size in sizes:
                    grid = parts[0][size][1]
                    vectors = clip_means(torch.cat([part[size][0] for part in parts]), clips)
                    # Memory for all at once, since joining pieces at the end would take twice as much.
                    into, _ = made.setdefault(size, (np.empty((most, vectors.shape[1]), np.float32), grid))
                    into[done:done + number] = vectors.float().cpu().numpy()
                done += number
                logger.info('features of %d of %d videos', done, most)
        return {size: (vectors[:done], grid) for size, (vectors, grid) in made.items()}

    def _features(self, dataset: Dataset, vectors: np.ndarray, grid: Grid, seconds: float) -> Features:
        """Puts vectors and what is known of their videos together."""
        there = [video for video in dataset.videos if video.path not in dataset.bad]
        assert len(there) == len(vectors)
        for video, vector in zip(there, vectors, strict=True):
            if not np.isfinite(vector).all():
                raise CheckpointError(f'{self.checkpoint}: makes features of {video.path} that are not finite; did its '
                                      f'training diverge?')
        return Features(torch.from_numpy(vectors), torch.tensor([video.label for video in there]),
                        [video.path for video in there], dict(dataset.bad), grid, dict(dataset.read_by),
                        not dataset.lost, seconds)

    def _check_bad(self, features: Features, videos: Sequence[Video]) -> None:
        """Applies ``data.max_bad_videos`` to features from the disk too, which may have been made under another one."""
        limit = self.config.data.max_bad_videos
        if len(features.bad) > limit * len(videos):
            raise BadVideosError(f'{len(features.bad)} of {len(videos)} videos were unreadable when their features '
                                 f'were extracted, more than max_bad_videos = {limit:g} allows; the first: '
                                 f'{next(iter(features.bad.values()))}')

    def _facts(self, videos: Sequence[Video]) -> dict[str, Any]:
        """Returns everything that determines features, the grid apart."""
        config, data = self.config, self.config.data
        environment = describe_environment()
        return dict(
            format=FORMAT, weights=self.digest, videos=_videos_digest(Path(data.root), videos),
            **({} if data.images is None else dict(images=data.images, **list_digests(data))),
            preprocessor=config.model['data_preprocessor'], backbone=config.model['backbone'],
            clips={key: value for key, value in identity(self.phase).items() if key != 'split'},
            decode=identity(data.decode), batch=data.test_batch_size,
            device=config.runtime.device, threads=config.runtime.threads,
            environment={key: environment[key] for key in ('packages', 'cpu_capability', 'gpu')})


def clipped(size: Grid, maps_NCTHW: Tensor) -> Grid:
    """Returns a grid (t, h, w) no finer than the feature maps: finer ones would only repeat their values."""
    t, h, w = (min(wanted, there) for wanted, there in zip(size, maps_NCTHW.shape[2:], strict=True))
    return t, h, w


def pooled_vectors(maps_NCTHW: Tensor, grid: Grid) -> Tensor:
    """Returns the vectors of clips (N, C * t * h * w): feature maps (N, C, T', H', W') averaged to a grid (t, h, w)."""
    return F.adaptive_avg_pool3d(maps_NCTHW, grid).flatten(1)


def as_clips(maps: Tensor | Sequence[Tensor]) -> Tensor:
    """Returns a backbone's feature maps (N, C, T', H', W'); those of images have one frame."""
    maps = maps if isinstance(maps, Tensor) else maps[-1]
    return maps[:, :, None] if maps.ndim == 4 else maps


def clip_means(vectors_ND: Tensor, clips: int) -> Tensor:
    """Returns the vectors of videos (N / clips, D), given those of their clips, a video's after one another."""
    return vectors_ND.view(-1, clips, vectors_ND.shape[1]).mean(dim=1)


def _pooled(maps_NCTHW: Tensor, sizes: Sequence[Grid]) -> dict[Grid, tuple[Tensor, Grid]]:
    """Returns vectors of clips and effective grid by size."""
    grids = {size: clipped(size, maps_NCTHW) for size in sizes}
    return {size: (pooled_vectors(maps_NCTHW, grid), grid) for size, grid in grids.items()}


def retrieval_pool(config: RunConfig) -> Grid:
    """Returns the grid that retrieval keeps."""
    t, h, w = (config.evaluation or EvaluationConfig()).retrieval_pool
    return t, h, w


def weights_digest(module: nn.Module) -> str:
    """Returns the SHA-256 of a module's tensors, their names, types and shapes."""
    digest = sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _videos_digest(root: Path, videos: Sequence[Video]) -> str:
    """Returns the SHA-256 of names, labels, sizes and times: the data root may move, the files may not change."""
    digest = sha256()
    for video in videos:
        try:
            signature = signature_of(resolve(root, video.path))
        except (FedVSSLError, OSError):  # whoever opens it says what is wrong
            signature = None
        digest.update(f'{video.path!r} {video.label} {signature and tuple(signature)}\n'.encode())
    return digest.hexdigest()
