"""What kNN and retrieval have in common: the training videos as a gallery, the test videos as queries."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedvssl.config import RunConfig, identity
from fedvssl.errors import ConfigError
from fedvssl.evaluation.feature_store import Features
from fedvssl.evaluation.features import RANDOM, Extractor, Grid
from fedvssl.evaluation.labelled import labelled_videos, require_same_classes, test_phase
from fedvssl.evaluation.labels import label_subset
from fedvssl.evaluation.neighbours import Neighbours, nearest

logger = logging.getLogger('fedvssl')

Facts = dict[str, Any]


@dataclass(frozen=True)
class Search:
    """Features of gallery and queries, and what they come from.

    Attributes:
        config: The run.
        checkpoint: Where the backbone comes from.
        weights: What became of the checkpoint's tensors.
        digest: SHA-256 of the backbone.
        gallery: Features of the training videos.
        queries: Features of the test videos.
        shared_videos: How many videos are in both.
    """

    config: RunConfig
    checkpoint: str
    weights: str
    digest: str
    gallery: Features
    queries: Features
    shared_videos: int

    def nearest(self, k: int) -> tuple[Neighbours, float]:
        """Returns the k nearest of each query, and how many seconds that took; on the run's device."""
        begun, device = time.perf_counter(), self.config.runtime.device
        found = nearest(self.queries.vectors.to(device), self.gallery.vectors.to(device), k)
        return found, time.perf_counter() - begun

    def protocol(self, pool: Grid) -> Facts:
        """Returns what belongs to the protocol of any search, as JSON values; `pool` is the grid that was asked for."""
        data, phase = self.config.data, test_phase(self.config)
        return dict(similarity='cosine', averaged='features', pool=list(self.gallery.pool), wanted_pool=list(pool),
                    clips={key: value for key, value in identity(phase).items() if key != 'split'},
                    backbone=identity(self.config)['model']['backbone'],
                    split=dict(column=data.split_column, gallery=data.train.split, queries=phase.split),
                    label_fraction=_label_fraction(self.config))

    def describe(self) -> Facts:
        """Returns what a result says about where its figures come from, as JSON values."""
        gallery, queries = self.gallery, self.queries
        return dict(
            pretrained=None if self.checkpoint == RANDOM else self.checkpoint, weights=self.weights,
            pretrained_sha256=self.digest,
            gallery=len(gallery), shared_videos=self.shared_videos, target=queries.labels.tolist(),
            features=dict(gallery=gallery.describe(), queries=queries.describe()),
            bad_videos={**gallery.bad, **queries.bad}, reproducible=gallery.reproducible and queries.reproducible,
            extraction_seconds=gallery.seconds + queries.seconds)


def search(config: RunConfig, checkpoint: str, directory: Path | None, pool: Grid,
           check: Callable[[int], Any]) -> Search:
    """Extracts what is to be searched. Lists and checkpoint are looked at before any video is.

    With ``training.label_fraction`` the gallery is that share of the training videos.

    Args:
        config: A run whose model learns labels; of the model only the backbone counts.
        checkpoint: Where the backbone comes from; ``'random'``: initial weights by the run's seed.
        directory: Where extracted features are kept; None keeps none.
        pool: Frames, height and width to average the feature maps to.
        check: Refuses a gallery of a size that is too small.

    Raises:
        ConfigError: If the config is not one of an evaluation, or the gallery is refused.
        DataListError: If a list is wrong, a split is empty, or the splits do not have the same classes.
        CheckpointError: If the checkpoint holds no such backbone, or is damaged.
        BadVideosError: If too many videos are unreadable.
    """
    phase, split = test_phase(config), config.data.train.split
    videos, asking = labelled_videos(config, split), labelled_videos(config, phase.split)
    videos = label_subset(videos, _label_fraction(config), config.seed)
    require_same_classes(config, videos, asking)
    check(len(videos))
    extractor = Extractor(config, checkpoint, directory)
    gallery = extractor(split, pool).among([video.path for video in videos])
    queries = extractor(phase.split, pool)
    shared = len(set(gallery.paths) & set(queries.paths))
    if shared:
        logger.warning('%d of %d queries are in the gallery too, where each finds itself: this says nothing about the '
                       'features; give data.train.split and data.test.split different videos', shared, len(queries))
    _warn_of_lost_classes(gallery, queries)
    return Search(config, checkpoint, extractor.weights, extractor.digest, gallery, queries, shared)


def fitting(counts: Sequence[int], size: int, key: str, asked: bool) -> list[int]:
    """Returns each k, or the gallery's size where that is smaller.

    Args:
        counts: The k.
        size: Videos in the gallery.
        key: Where the config says them, for messages.
        asked: Whether the config does say them; it is then refused instead.

    Raises:
        ConfigError: If a k that is asked for exceeds the gallery.
    """
    beyond = [k for k in counts if k > size]
    if beyond and asked:
        raise ConfigError(f'{key}: k = {max(beyond)} exceeds the gallery, which has {size} videos; take a k of 1 to '
                          f'{size}')
    if beyond:
        logger.warning('the gallery has %d videos: they are all taken for k = %s', size, ', '.join(map(str, beyond)))
    return [min(k, size) for k in counts]


def _label_fraction(config: RunConfig) -> float:
    return config.training.label_fraction if config.training else 1.0


def _warn_of_lost_classes(gallery: Features, queries: Features) -> None:
    """Says which classes no query can find, because none of their videos in the gallery could be read."""
    lost = set(queries.labels.tolist()) - set(gallery.labels.tolist())
    if lost:
        number = sum(label in lost for label in queries.labels.tolist())
        logger.warning('no video of %d classes could be read for the gallery: %d queries cannot be right', len(lost),
                       number)
