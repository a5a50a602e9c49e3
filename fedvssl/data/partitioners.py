"""Partitioners: the schemes of `fedvssl.data.partition` as pieces of a config, applied to annotated videos.

A partitioner is called with the training list and the run's seed and returns, per client, the ascending indices of its
videos; and it deals a held-out list among the same clients. Shuffling the lists moves no video. A further scheme is one
more class under `PARTITIONERS`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from fedvssl.config import DataConfig
from fedvssl.data import partition
from fedvssl.data.annotations import UNLABELLED, Video
from fedvssl.data.client_lists import read_client_lists
from fedvssl.data.partition import Partition, at_least_one, check_alpha
from fedvssl.errors import ConfigError, DataListError, suggest
from fedvssl.registry import PARTITIONERS, build


class Partitioner(ABC):
    """What a scheme offers; client k is entry k of the returned lists."""

    def __call__(self, videos: Sequence[Video], seed: int) -> Partition:
        """Returns per client the ascending indices into `videos`, each an int64 array of shape (n_k,), n_k >= 1.

        Raises:
            DataListError: If the scheme cannot divide this list.
        """
        paths = [video.path for video in videos]
        parts = partition.independent_of_order(
            paths, lambda order: self._deal([videos[index] for index in order], seed))
        return [np.sort(part) for part in parts]

    @abstractmethod
    def _deal(self, videos: Sequence[Video], seed: int) -> Partition:
        """Returns per client the positions in `videos`, which are in the order of their paths."""

    def held_out(self, train: Sequence[Video], test: Sequence[Video], seed: int) -> Partition:
        """Returns per client of `train` the ascending indices into `test` that it is to be tested on.

        By default in proportion to what it has of each class (without labels, of all videos).

        Raises:
            DataListError: If a held-out video cannot be given to any client.
        """
        labels = np.array([video.label for video in train])
        paths = [video.path for video in test]
        return [np.sort(part) for part in partition.independent_of_order(paths, lambda order: partition.mirrored(
            self(train, seed), labels, np.array([test[index].label for index in order], dtype=np.int64)))]


@PARTITIONERS.register_module()
class IIDPartitioner(Partitioner):
    """Deals evenly, see `partition.iid`.

    Args:
        num_clients: Number of clients N, from 1 to the number of videos.

    Raises:
        DataListError: If `num_clients` is below 1.
    """

    def __init__(self, num_clients: int) -> None:
        at_least_one(num_clients=num_clients)
        self.num_clients = num_clients

    def _deal(self, videos: Sequence[Video], seed: int) -> Partition:
        return partition.iid(len(videos), self.num_clients, seed)

    def held_out(self, train: Sequence[Video], test: Sequence[Video], seed: int) -> Partition:
        """Deals the held-out videos likewise; where there are few, clients get none."""
        paths = [video.path for video in test]
        return [np.sort(part) for part in partition.independent_of_order(
            paths, lambda order: partition.iid(len(order), self.num_clients, seed, may_be_empty=True))]


@PARTITIONERS.register_module()
class ClassBlocksPartitioner(Partitioner):
    """Gives every client a few whole classes or even shares of them, see `partition.class_blocks`.

    Args:
        num_clients: Number of clients N.
        classes_per_client: Number of classes of each.

    Raises:
        DataListError: If an argument is below 1.
    """

    def __init__(self, num_clients: int, classes_per_client: int) -> None:
        at_least_one(num_clients=num_clients, classes_per_client=classes_per_client)
        self.num_clients, self.classes_per_client = num_clients, classes_per_client

    def _deal(self, videos: Sequence[Video], seed: int) -> Partition:
        return partition.class_blocks(_labels(videos), self.num_clients, self.classes_per_client, seed)


@PARTITIONERS.register_module()
class DirichletPartitioner(Partitioner):
    """Deals each class in Dirichlet proportions, see `partition.dirichlet`.

    Args:
        num_clients: Number of clients N.
        alpha: Concentration, above 0.
        min_videos: What every client must have at least.

    Raises:
        DataListError: If an argument is out of range.
    """

    def __init__(self, num_clients: int, alpha: float, min_videos: int = 1) -> None:
        at_least_one(num_clients=num_clients, min_videos=min_videos)
        check_alpha(alpha)
        self.num_clients, self.alpha, self.min_videos = num_clients, alpha, min_videos

    def _deal(self, videos: Sequence[Video], seed: int) -> Partition:
        return partition.dirichlet(_labels(videos), self.num_clients, self.alpha, seed, self.min_videos)


@PARTITIONERS.register_module()
class ShardsPartitioner(Partitioner):
    """Deals shards of the list sorted by class, see `partition.shards`.

    Args:
        num_clients: Number of clients N.
        shards_per_client: Number of shards of each.

    Raises:
        DataListError: If an argument is below 1.
    """

    def __init__(self, num_clients: int, shards_per_client: int = 2) -> None:
        at_least_one(num_clients=num_clients, shards_per_client=shards_per_client)
        self.num_clients, self.shards_per_client = num_clients, shards_per_client

    def _deal(self, videos: Sequence[Video], seed: int) -> Partition:
        return partition.shards(_labels(videos), self.num_clients, self.shards_per_client, seed)


@PARTITIONERS.register_module()
class ColumnPartitioner(Partitioner):
    """Splits by a column of the list, e.g. one client per person, site or camera; no randomness.

    Args:
        column: Name of the column.
        num_clients: None gives one client per distinct value, in sorted order; a smaller number deals each client a run
            of neighbouring values, see `partition.by_value`.

    Raises:
        DataListError: If `num_clients` is below 1, or, when called, above the number of values; if there is no such
            column; or if a video has no value in it.
    """

    def __init__(self, column: str, num_clients: int | None = None) -> None:
        if num_clients is not None:
            at_least_one(num_clients=num_clients)
        self.column, self.num_clients = column, num_clients

    def _deal(self, videos: Sequence[Video], seed: int) -> Partition:
        return self._to_owners(self._owners(videos), videos)

    def held_out(self, train: Sequence[Video], test: Sequence[Video], seed: int) -> Partition:
        """Gives every held-out video to the client that trains on its value; a client may get none."""
        return self._to_owners(self._owners(train), test)

    def _owners(self, videos: Sequence[Video]) -> dict[str, int]:
        try:
            return partition.by_value([self._value(video) for video in videos], self.num_clients)
        except DataListError as error:
            raise DataListError(f'column {self.column!r}: {error}') from error

    def _to_owners(self, owners: dict[str, int], videos: Sequence[Video]) -> Partition:
        dealt: list[list[int]] = [[] for _ in range(max(owners.values(), default=-1) + 1)]
        for index, video in enumerate(videos):
            value = self._value(video)
            if value not in owners:
                raise DataListError(f'line {video.line} of the annotation list ({video.path!r}): no client trains on '
                                    f'{self.column} {value!r}, so none can be tested on it; take it out of the split, '
                                    f'or switch federation.evaluate_every off')
            dealt[owners[value]].append(index)
        return [np.array(indices, dtype=np.int64) for indices in dealt]

    def _value(self, video: Video) -> str:
        if self.column not in video.columns:
            raise DataListError(f'no column {self.column!r} to partition by{suggest(self.column, video.columns)}')
        value = video.columns[self.column]
        if not value:
            raise DataListError(f'line {video.line} of the annotation list ({video.path!r}): no value in column '
                                f'{self.column!r}, so no client to give the video to')
        return value


@PARTITIONERS.register_module()
class ListsPartitioner(Partitioner):
    """Takes the clients from files ``client_dist{1..N}.json``, as published or as our scripts make them.

    Their names are compared with the list's column ``name``, or else with its paths, see `read_client_lists`. What the
    files name and the annotation list lacks is counted in a warning; a video that no file names is on no client; a
    video may be on several, as in the published lists.

    Args:
        directory: Where the files are.

    Raises:
        DataListError: If it is not text.
    """

    def __init__(self, directory: str) -> None:
        if not isinstance(directory, str):
            raise DataListError(f'directory={directory!r} must be text')
        self.directory = directory

    def _deal(self, videos: Sequence[Video], seed: int) -> Partition:
        return read_client_lists(self.directory, [video.columns.get('name') or video.path for video in videos])


@PARTITIONERS.register_module()
class OwnListPartitioner(Partitioner):
    """Says that the data are divided already: every client's host has its own list, and all of it is that client's.

    For deployment, where data really sit on different hosts; the server needs neither list nor videos.

    Args:
        num_clients: Number of clients N.

    Raises:
        DataListError: If `num_clients` is below 1.
    """

    def __init__(self, num_clients: int) -> None:
        at_least_one(num_clients=num_clients)
        self.num_clients = num_clients

    def _deal(self, videos: Sequence[Video], seed: int) -> Partition:
        return [np.arange(len(videos))] * self.num_clients

    def held_out(self, train: Sequence[Video], test: Sequence[Video], seed: int) -> Partition:
        """Gives the client all held-out videos of its own list."""
        return self._deal(test, seed)


def num_own_lists(data: DataConfig) -> int | None:
    """Returns the number of clients if every one of them has a list of its own (`OwnListPartitioner`), else None.

    Raises:
        ConfigError: As `build_partitions`.
    """
    partitioner = _partitioner(data)
    return partitioner.num_clients if isinstance(partitioner, OwnListPartitioner) else None


def build_partitions(data: DataConfig, videos: Sequence[Video], seed: int) -> Partition:
    """Divides the training videos among the clients as a config says.

    Raises:
        ConfigError: If the config has no ``data.partition``, or the scheme refuses its arguments.
        DataListError: If the scheme cannot divide this list.
    """
    partitioner = _partitioner(data)
    try:
        return partitioner(videos, seed)
    except DataListError as error:
        raise DataListError(f'data.partition: {error}') from error


def build_held_out(data: DataConfig, train: Sequence[Video], test: Sequence[Video], seed: int) -> Partition:
    """Divides the held-out videos among the clients that `build_partitions` makes of the training videos.

    Raises:
        ConfigError: As `build_partitions`.
        DataListError: If a held-out video cannot be given to any of the clients.
    """
    partitioner = _partitioner(data)
    try:
        return partitioner.held_out(train, test, seed)
    except DataListError as error:
        raise DataListError(f'data.partition: {error}') from error


def _partitioner(data: DataConfig) -> Partitioner:
    if data.partition is None:
        raise ConfigError('data.partition: it says which videos each client has, and the config does not have it')
    try:
        return build(PARTITIONERS, data.partition, 'data.partition')
    except DataListError as error:
        raise ConfigError(f'data.partition: {error}') from error


def _labels(videos: Sequence[Video]) -> np.ndarray:
    labels = np.array([video.label for video in videos], dtype=np.int64)
    if np.any(labels == UNLABELLED):
        raise DataListError('this partition is by class, and the annotation list has no labels; add a column "label", '
                            'or partition by IIDPartitioner or ColumnPartitioner')
    return labels
