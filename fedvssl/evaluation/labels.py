"""The labelled videos of a run: what the lists must hold, and the share of them that may be trained on.

With ``training.label_fraction`` = f, each class keeps max(1, round(f n)) of its n training videos: the first ones of an
order that the run's seed and the class decide. So for one seed the videos of a smaller f are among those of a larger
one, every class is there, and how the list is sorted does not matter. The test videos are always all of them.
"""

from collections.abc import Sequence
from pathlib import Path

from fedvssl import rng
from fedvssl.config import RunConfig
from fedvssl.data.annotations import Video
from fedvssl.errors import ConfigError
from fedvssl.evaluation.labelled import SHOWN, labelled_videos


def train_and_test_videos(config: RunConfig) -> tuple[list[Video], list[Video]]:
    """Returns the videos to train on and the test videos, all with labels that the head has outputs for.

    Raises:
        ConfigError: If there are no test data, the head has more outputs than there are classes, or the config is one
            client's.
        DataListError: If a list is wrong, a split is empty, or a label is missing or out of range.
    """
    data = config.data
    if data.test is None:
        raise ConfigError('data.test: fine-tuning needs it and the config does not have it')
    if config.training and config.training.client is not None:
        raise ConfigError('training.client: is for pretraining (tools/train.py); labels are learned from all training '
                          'videos, or from training.label_fraction of them')
    classes = config.model.get('head', {}).get('num_classes')
    if not isinstance(classes, int):
        raise ConfigError('model.head.num_classes: is required and missing; it says how many classes the labels have')
    train, test = (labelled_videos(config, phase.split) for phase in (data.train, data.test))
    _require_all_classes(config, classes, train + test)
    fraction = config.training.label_fraction if config.training else 1.0
    return label_subset(train, fraction, config.seed), test


def label_subset(videos: Sequence[Video], fraction: float, seed: int) -> list[Video]:
    """Returns the same share of the videos of each class, at least one, in the order of the list.

    Args:
        videos: Videos with labels.
        fraction: Share to keep, above 0 and up to 1.
        seed: Seed of the run.
    """
    if fraction == 1:
        return list(videos)
    by_class: dict[int, list[str]] = {}
    for video in videos:
        by_class.setdefault(video.label, []).append(video.path)
    kept: set[str] = set()
    for label, paths in by_class.items():
        order = rng.generator(seed, 'labels', label).permutation(sorted(paths))
        kept.update(order[:max(1, round(fraction * len(paths)))].tolist())
    return [video for video in videos if video.path in kept]


def _require_all_classes(config: RunConfig, classes: int, videos: Sequence[Video]) -> None:
    """Checks that the head has no outputs that nothing is labelled with: it is another set's, or labels begin at 1."""
    file, base = Path(config.data.root) / config.data.annotations, config.data.label_base
    absent = sorted(set(range(classes)) - {video.label for video in videos})
    if absent:
        raise ConfigError(f'model.head.num_classes: is {classes}, but the training and test videos in {file} have '
                          f'{classes - len(absent)} classes: none is labelled {_named(absent, base)}; give it the '
                          f'number of classes, and see that labels count from data.label_base = {base} without gaps')


def _named(labels: Sequence[int], base: int) -> str:
    shown = ', '.join(str(label + base) for label in labels[:SHOWN])
    return f'{shown} or {len(labels) - SHOWN} more' if len(labels) > SHOWN else shown
