"""What can be said about a partition: sizes, classes, coverage, and how much of it lies on more than one client."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedvssl.data.partition import Partition


def statistics(parts: Partition, labels: np.ndarray) -> dict[str, Any]:
    """Describes a partition of a list.

    Args:
        parts: Positions in the list, per client.
        labels: Class of each video of the list (n,).

    Returns:
        JSON values: ``clients``; ``records`` (entries of all clients); ``videos`` (distinct) of ``videos_in_list``;
        ``videos_on_several_clients``; ``copies``, the number of videos that are on 1, 2 ... clients; ``classes``
        (distinct) of ``classes_in_list``; and minimum, median and maximum of ``videos_per_client``,
        ``classes_per_client`` and ``clients_per_class`` (of the classes that occur).
    """
    counts = class_counts(parts, labels)
    copies = np.bincount(np.concatenate(parts), minlength=len(labels))
    held = counts > 0
    return dict(
        clients=len(parts),
        records=int(copies.sum()),
        videos=int((copies > 0).sum()),
        videos_in_list=len(labels),
        videos_on_several_clients=int((copies > 1).sum()),
        copies={str(times): int(number) for times, number in enumerate(np.bincount(copies)) if times and number},
        classes=int(held.any(axis=0).sum()),
        classes_in_list=counts.shape[1],
        videos_per_client=_spread([len(part) for part in parts]),
        classes_per_client=_spread(held.sum(axis=1)),
        clients_per_class=_spread(held.sum(axis=0)[held.any(axis=0)]),
    )


def class_counts(parts: Partition, labels: np.ndarray) -> np.ndarray:
    """Returns how many videos each client has of each class that the list has, ascending (clients, classes)."""
    classes, numbers = np.unique(labels, return_inverse=True)
    return np.array([np.bincount(numbers[part], minlength=len(classes)) for part in parts])


def summary(described: dict[str, Any]) -> list[str]:
    """Returns `statistics` in a few lines of text."""
    videos, classes, clients = (described[key] for key in ('videos_per_client', 'classes_per_client',
                                                           'clients_per_class'))
    return [
        f'clients: {described["clients"]:,}, each with {_range(videos)} videos of {_range(classes)} classes',
        f'videos: {described["videos"]:,} of {described["videos_in_list"]:,}, '
        f'{described["videos_on_several_clients"]:,} of them on more than one client',
        f'classes: {described["classes"]:,} of {described["classes_in_list"]:,}, each on {_range(clients)} clients',
    ]


def _spread(values: Sequence[int] | np.ndarray) -> dict[str, float]:
    return dict(min=int(np.min(values)), median=float(np.median(values)), max=int(np.max(values)))


def _range(spread: dict[str, float]) -> str:
    if spread['min'] == spread['max']:
        return f'{spread["min"]:,}'
    return f'{spread["min"]:,} to {spread["max"]:,} (median {spread["median"]:,g})'
