"""What dividing a list costs: CPU seconds per scheme, for a list of the size of Kinetics-400."""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fedvssl.data import partition
from fedvssl.data.partition import Partition
from fedvssl.rng import generator

CLASSES, CLIENTS, PER_CLIENT, SEED = 400, 100, 8, 7


def measure_partition(rows: int = 240_000, repeats: int = 5) -> dict[str, Any]:
    """Divides a generated list by every scheme, interleaved.

    Args:
        rows: Length of the list, at least one video for each client that is to share a class.
        repeats: How often each scheme is run.

    Returns:
        JSON values: per scheme median, fastest and slowest run in CPU seconds.
    """
    names, labels = _generated_list(rows)
    seconds: dict[str, list[float]] = {}
    for _ in range(repeats):
        for scheme, divide in _schemes(names, labels):
            begun = time.process_time()
            divide()
            seconds.setdefault(scheme, []).append(time.process_time() - begun)
    return dict(rows=rows, classes=CLASSES, clients=CLIENTS, repeats=repeats, cpu_seconds={
        scheme: dict(median=statistics.median(runs), min=min(runs), max=max(runs))
        for scheme, runs in seconds.items()})


def _schemes(names: list[str], labels: np.ndarray) -> Iterator[tuple[str, Callable[[], Partition | dict]]]:
    def by_name(scheme: Callable[[np.ndarray], Partition]) -> Callable[[], Partition]:
        return lambda: partition.independent_of_order(names, lambda order: scheme(labels[order]))

    yield 'iid', by_name(lambda known: partition.iid(len(known), CLIENTS, SEED))
    yield 'published_iid', lambda: partition.published_iid(len(labels), CLIENTS, SEED)
    yield 'class_blocks', by_name(lambda known: partition.class_blocks(known, CLIENTS, PER_CLIENT, SEED))
    yield 'published_window', lambda: partition.published_window(labels, CLASSES)
    yield 'dirichlet', by_name(lambda known: partition.dirichlet(known, CLIENTS, 0.5, SEED))
    yield 'shards', by_name(lambda known: partition.shards(known, CLIENTS, 2, SEED))
    yield 'by_value', lambda: partition.by_value([str(label) for label in labels], CLIENTS)


def _generated_list(rows: int) -> tuple[list[str], np.ndarray]:
    """Returns names in random order, and labels of classes whose sizes differ by up to five times."""
    random = generator(SEED, 'benchmark')
    sizes = random.uniform(1, 5, CLASSES)
    labels = random.choice(CLASSES, rows, p=sizes / sizes.sum())
    return [f'class_{label}/{number:012x}' for label, number in
            zip(labels.tolist(), random.permutation(rows).tolist(), strict=True)], labels
