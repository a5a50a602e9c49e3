"""Partitioners: which client holds which videos.

A partitioner is called with the list and the run's seed and returns, per client, the ascending indices of its videos.
It is a pure function of the two: no file is read, the same list and seed give the same partition everywhere. A further
scheme is one more class under `PARTITIONERS`.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from fedvssl.config import DataConfig
from fedvssl.data.annotations import Video
from fedvssl.errors import ConfigError, DataListError, suggest
from fedvssl.registry import PARTITIONERS, build
from fedvssl.rng import generator


class Partitioner(Protocol):
    """What a scheme offers; client k is entry k of the returned list."""

    def __call__(self, videos: Sequence[Video], seed: int) -> list[np.ndarray]:
        """Returns per client the ascending indices into `videos`, each an int64 array of shape (n_k,), n_k >= 1."""
        ...

    def held_out(self, train: Sequence[Video], test: Sequence[Video], seed: int) -> list[np.ndarray]:
        """Returns per client of `train` the ascending indices into `test` that it is to be tested on."""
        ...


@PARTITIONERS.register_module()
class IIDPartitioner:
    """Shuffles the list once and deals client k the slice ``[floor(k n / N), floor((k + 1) n / N))``.

    Every video is on exactly one client, and the sizes of two clients differ by at most one. The published IID lists
    follow the same slice rule.

    Args:
        num_clients: Number of clients N, from 1 to the number of videos n.

    Raises:
        DataListError: If `num_clients` is below 1, or, when called, above the number of videos.
    """

    def __init__(self, num_clients: int) -> None:
        self.num_clients = _checked(num_clients)

    def __call__(self, videos: Sequence[Video], seed: int) -> list[np.ndarray]:
        """Returns per client the ascending int64 indices into `videos`."""
        order = generator(seed, 'partition').permutation(len(videos))
        return [np.sort(part).astype(np.int64) for part in _slices(order, self.num_clients, 'videos')]

    def held_out(self, train: Sequence[Video], test: Sequence[Video], seed: int) -> list[np.ndarray]:
        """Deals the held-out videos likewise."""
        return self(test, seed)


@PARTITIONERS.register_module()
class ColumnPartitioner:
    """Splits by a column of the list, e.g. one client per person, site or camera; no randomness.

    Args:
        column: Name of the column.
        num_clients: None gives one client per distinct value, in sorted order (as text: '10' before '2'). A smaller
            number deals each client a run of neighbouring values by the slice rule of `IIDPartitioner`; a value is
            never cut.

    Raises:
        DataListError: If `num_clients` is below 1, or, when called, above the number of values; if there is no such
            column; or if a video has no value in it.
    """

    def __init__(self, column: str, num_clients: int | None = None) -> None:
        self.column = column
        self.num_clients = None if num_clients is None else _checked(num_clients)

    def __call__(self, videos: Sequence[Video], seed: int) -> list[np.ndarray]:
        """Returns per client the ascending int64 indices into `videos`; `seed` has no influence."""
        return self._deal(self._owners(videos), videos)

    def held_out(self, train: Sequence[Video], test: Sequence[Video], seed: int) -> list[np.ndarray]:
        """Gives every held-out video to the client that trains on its value; a client may get none."""
        return self._deal(self._owners(train), test)

    def _owners(self, videos: Sequence[Video]) -> dict[str, int]:
        """Returns the client of each value."""
        values = np.array(sorted({self._value(video) for video in videos}), dtype=object)
        groups = _slices(values, self.num_clients or max(len(values), 1), f'values in column {self.column!r}')
        return {value: client for client, group in enumerate(groups) for value in group}

    def _deal(self, owners: dict[str, int], videos: Sequence[Video]) -> list[np.ndarray]:
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


def _slices(items: np.ndarray, num_clients: int, what: str) -> list[np.ndarray]:
    count = len(items)
    bounds = [client * count // num_clients for client in range(num_clients + 1)]
    empty = [client for client in range(num_clients) if bounds[client] == bounds[client + 1]]
    if empty:
        named = ', '.join(map(str, empty[:10])) + (', ...' if len(empty) > 10 else '')
        raise DataListError(f'num_clients={num_clients}, but there are only {count} {what}: client {named} would have '
                            f'no data; use 1..{max(count, 1)} clients')
    return [items[start:stop] for start, stop in zip(bounds, bounds[1:], strict=False)]


def _checked(num_clients: int) -> int:
    if num_clients < 1:
        raise DataListError(f'num_clients={num_clients} must be at least 1')
    return num_clients


def build_partitions(data: DataConfig, videos: Sequence[Video], seed: int) -> list[np.ndarray]:
    """Divides the training videos among the clients as a config says.

    Raises:
        ConfigError: If the config has no ``data.partition``, or the scheme refuses its arguments.
        DataListError: If the scheme cannot divide this list.
    """
    return _partitioner(data)(videos, seed)


def build_held_out(data: DataConfig, train: Sequence[Video], test: Sequence[Video], seed: int) -> list[np.ndarray]:
    """Divides the held-out videos among the clients that `build_partitions` makes of the training videos.

    Raises:
        ConfigError: As `build_partitions`.
        DataListError: If a held-out video cannot be given to any of the clients.
    """
    return _partitioner(data).held_out(train, test, seed)


def _partitioner(data: DataConfig) -> Partitioner:
    if data.partition is None:
        raise ConfigError('data.partition: federated training needs it and the config does not have it')
    return build(PARTITIONERS, data.partition, 'data.partition')
