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
from fedvssl.registry import PARTITIONERS
from fedvssl.rng import generator


class Partitioner(Protocol):
    """What a scheme offers; client k is entry k of the returned list."""

    def __call__(self, videos: Sequence[Video], seed: int) -> list[np.ndarray]:
        """Returns per client the ascending indices into `videos`, each an int64 array of shape (n_k,), n_k >= 1."""
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
        members: dict[str, list[int]] = {}
        for index, video in enumerate(videos):
            members.setdefault(self._value(video), []).append(index)
        values = np.array(sorted(members), dtype=object)
        groups = _slices(values, self.num_clients or max(len(values), 1), f'values in column {self.column!r}')
        return [np.array(sorted(index for value in group for index in members[value]), dtype=np.int64)
                for group in groups]

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
    """Divides videos among the clients as a config says.

    Raises:
        ConfigError: If the config has no ``data.partition``.
        DataListError: If the scheme cannot divide this list.
    """
    if data.partition is None:
        raise ConfigError('data.partition: federated training needs it and the config does not have it')
    return PARTITIONERS.build(dict(data.partition))(videos, seed)
