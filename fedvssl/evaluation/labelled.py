"""The labelled videos that an evaluation needs, and what makes a config unfit for one."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from fedvssl.config import PhaseConfig, RunConfig
from fedvssl.data.annotations import UNLABELLED, Video
from fedvssl.data.dataset import read_videos
from fedvssl.errors import ConfigError, DataListError
from fedvssl.registry import MODELS

SHOWN = 10  # classes named in a message


def test_phase(config: RunConfig) -> PhaseConfig:
    """Returns how videos are read for an evaluation.

    Raises:
        ConfigError: If the config has no ``data.test``, or its model is a pretext task, whose clips are made for it.
    """
    name = config.model['type']
    if not getattr(MODELS.get(name), 'learns_labels', False):
        raise ConfigError(f'model.type: {name} is a pretext task, whose clips and targets are its own; take a config '
                          f'of a Recognizer with the same backbone, such as those in configs/downstream')
    if config.data.test is None:
        raise ConfigError('data.test: says how videos are read for an evaluation, and the config does not have it')
    return config.data.test


def labelled_videos(config: RunConfig, split: str | None) -> list[Video]:
    """Reads the rows of a split, all of which must have a label that the config allows for.

    Args:
        config: The run. Where its head states ``num_classes``, labels must lie below that: a list that disagrees is
            another one than the config is for, or ``data.label_base`` is wrong.
        split: Which rows; all of them if None.

    Raises:
        DataListError: If a list is wrong, the split is empty, or a label is missing or out of range.
    """
    data = config.data
    file, base = Path(data.root) / data.annotations, data.label_base
    classes = config.model.get('head', {}).get('num_classes')
    videos = read_videos(data, split)
    for video in videos:
        if video.label == UNLABELLED:
            raise DataListError(f'{file}:{video.line}: {video.path} has no label; an evaluation needs them all')
        if isinstance(classes, int) and video.label >= classes:
            raise DataListError(f'{file}:{video.line}: label {video.label + base} is out of range; '
                                f'model.head.num_classes = {classes} takes {base} to {base + classes - 1} '
                                f'with data.label_base = {base}')
    return videos


def require_same_classes(config: RunConfig, gallery: Sequence[Video], queries: Sequence[Video]) -> None:
    """Checks that gallery and queries have the same classes.

    A query whose class is not in the gallery can only be wrong, and a class that nobody asks for only misleads: either
    way the figure would be capped or raised by the lists, not by the features.

    Raises:
        DataListError: Naming the classes and what to do.
    """
    data = config.data
    file = Path(data.root) / data.annotations
    of_gallery, of_queries = Counter(video.label for video in gallery), Counter(video.label for video in queries)
    splits = dict(gallery=data.train.split, queries=data.test.split if data.test else None)
    for there, other, counts, absent in (('queries', 'gallery', of_queries, of_queries.keys() - of_gallery.keys()),
                                         ('gallery', 'queries', of_gallery, of_gallery.keys() - of_queries.keys())):
        if absent:
            raise DataListError(f'{file}: {len(absent)} of {len(counts)} classes of the {there} (split '
                                f'{splits[there]!r}) are missing from the {other} (split {splits[other]!r}): '
                                f'{_listed(absent, data.label_base)}; take these '
                                f'{sum(counts[label] for label in absent)} videos out of the list, or divide it anew')


def _listed(labels: Iterable[int], base: int) -> str:
    labels = sorted(labels)
    return ', '.join(str(label + base) for label in labels[:SHOWN]) + (', ...' if len(labels) > SHOWN else '')
