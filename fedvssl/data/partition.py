"""Partition schemes: which client gets which videos, as pure functions of numbers. No file, no registry, numpy only.

A scheme takes the labels of n videos (any integers), or only their number, and returns one array of positions in 0..n-1
per client. Every video is on exactly one client, and no client is empty, unless the scheme says otherwise. Positions
come in the order in which a client's list file names them. Most schemes depend on the order of the videos; what must
not, goes through `independent_of_order`.

=================  ============================================  ===================================================
scheme             clients differ in                             source
=================  ============================================  ===================================================
`iid`              nothing                                       the slice rule of the published lists
`published_iid`    nothing                                       FedVSSL, ``kinetics_json_splitter.py``
`class_blocks`     which classes they have; a true partition     ours, after the rule FedVSSL describes
`published_window` which classes they have; overlapping          FedVSSL, ``k400_non_iid.py``
`dirichlet`        how much of each class they have              Li et al., NIID-Bench, ICDE 2022
`shards`           which classes they have                       McMahan et al., FedAvg, AISTATS 2017
`by_value`         site, camera, subject: the natural clients
=================  ============================================  ===================================================
"""

import random
from collections.abc import Callable, Sequence
from hashlib import sha256

import numpy as np

from fedvssl.errors import DataListError
from fedvssl.rng import generator

Partition = list[np.ndarray]

_PUBLISHED_BLOCKS = 50
_PUBLISHED_CLASSES = 4  # of the smallest, and of the largest
_DIRICHLET_DRAWS = 100


def independent_of_order(names: Sequence[str], scheme: Callable[[np.ndarray], Partition]) -> Partition:
    """Applies a scheme to the videos in the order of their names, so that shuffling a list moves no video.

    Args:
        names: Distinct names of the videos (n,).
        scheme: Gets the positions (n,) of the videos in sorted order; returns positions in that order.

    Returns:
        Positions in the order of `names`, per client.
    """
    order = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
    return [order[part] for part in scheme(order)]


def iid(count: int, num_clients: int, seed: int, may_be_empty: bool = False) -> Partition:
    """Shuffles once and deals client k the slice ``[floor(k n / N), floor((k + 1) n / N))``.

    Args:
        count: Number of videos n.
        num_clients: Number of clients N, 1..n; sizes differ by at most one.
        seed: Seed of the run.
        may_be_empty: Whether there may be more clients than videos.

    Raises:
        DataListError: If there are more clients than videos, and may not be.
    """
    at_least_one(num_clients=num_clients)
    order = generator(seed, 'partition').permutation(count)
    return _slices(order, num_clients, 'videos', may_be_empty=may_be_empty)


def published_iid(count: int, num_clients: int = 100, seed: int = 7) -> Partition:
    """As `iid`, shuffled by Python's generator: with seed 7 it reproduces the published lists byte for byte.

    Raises:
        DataListError: If there are more clients than videos.
    """
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return _slices(np.array(order, dtype=np.int64), num_clients, 'videos')


def class_blocks(labels: np.ndarray, num_clients: int, classes_per_client: int, seed: int) -> Partition:
    """Gives every client whole shares of a few classes: a true partition in the spirit of the published one.

    The classes, sorted by size, are dealt into blocks: block i has the i-th group of the smallest classes and the i-th
    group of the largest, so that blocks are of similar size. Each class of a block is shuffled and cut evenly among the
    clients of the block, which are i, i + B, i + 2 B ... for B blocks. With 400 classes, 100 clients and 8 classes per
    client there are 50 blocks, and every class is on exactly 2 clients.

    Args:
        labels: Class of each video (n,).
        num_clients: Number of clients N.
        classes_per_client: Number of classes k of each; C classes make B = C / k blocks.
        seed: Seed of the run.

    Raises:
        DataListError: If k does not divide the number of classes, B does not divide N, or a class has fewer videos than
            clients to share it.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    num_blocks, holders = _checked_blocks(len(classes), num_clients, classes_per_client)
    by_size = classes[np.argsort(sizes, kind='stable')]
    smallest = _split(by_size[:num_blocks * (classes_per_client - classes_per_client // 2)], num_blocks)
    largest = _split(by_size[len(by_size) - num_blocks * (classes_per_client // 2):], num_blocks)[::-1]
    members = _members(labels)
    parts: list[list[np.ndarray]] = [[] for _ in range(num_clients)]
    for block in range(num_blocks):
        for label in (*smallest[block], *largest[block]):
            if len(members[label]) < holders:
                raise DataListError(f'num_clients={num_clients}: {holders} clients are to share class {label} (counted '
                                    f'from 0), which has {len(members[label])} videos; use fewer clients')
            positions = generator(seed, 'partition', 'class', int(label)).permutation(members[label])
            for holder, share in enumerate(_slices(positions, holders, 'videos')):
                parts[block + holder * num_blocks].append(np.sort(share))
    return [np.concatenate(shares) for shares in parts]


def published_window(labels: np.ndarray, num_classes: int = 400) -> Partition:
    """The published non-IID lists. **Not a partition**: it uses 106 of 400 classes and most videos four times.

    Classes are sorted by size. For i = 0..49, clients i and i + 50 share the four classes ``C[i:i+4]`` and the four
    ``C[-i-5:-i-1]``, half of each, a small and a large class in turn; the window moves by one class where it should
    move by four. A class is shuffled again, in place, each time it is used (Python's generator, seed 1234 for small and
    4321 for large classes).

    Args:
        labels: Class of each video, 0..num_classes-1 (n,).
        num_classes: Number of classes, those without videos included.

    Raises:
        DataListError: If there are too few classes for 50 windows at either end, a label is out of range, or a client
            would be empty.
    """
    needed = _PUBLISHED_BLOCKS + _PUBLISHED_CLASSES
    if num_classes < needed or labels.min(initial=0) < 0 or labels.max(initial=0) >= num_classes:
        raise DataListError(f'the published rule needs labels 0..C-1 of at least {needed} classes; num_classes is '
                            f'{num_classes}, the labels are {labels.min(initial=0)}..{labels.max(initial=0)}')
    found = _members(labels)
    members = {label: found[label].tolist() if label in found else [] for label in range(num_classes)}
    by_size = sorted(range(num_classes), key=lambda label: len(members[label]))
    first: list[list[int]] = []
    second: list[list[int]] = []
    for block in range(_PUBLISHED_BLOCKS):
        halves = [_shuffled_halves(members[label], shuffle_seed)
                  for small, large in zip(by_size[block:block + _PUBLISHED_CLASSES],
                                          by_size[-block - 1 - _PUBLISHED_CLASSES:-block - 1], strict=True)
                  for label, shuffle_seed in ((small, 1234), (large, 4321))]
        first.append([index for half, _ in halves for index in half])
        second.append([index for _, half in halves for index in half])
    return _none_empty([np.array(part, dtype=np.int64) for part in first + second])


def dirichlet(labels: np.ndarray, num_clients: int, alpha: float, seed: int, min_videos: int = 1) -> Partition:
    """Deals each class in proportions drawn from a symmetric Dirichlet distribution.

    For each class, ``p ~ Dir(alpha, ..., alpha)`` over the N clients; its shuffled videos are cut at
    ``floor(n_class * cumsum(p))``. The smaller alpha, the fewer clients share a class. All proportions are drawn again
    while a client has fewer than `min_videos`.

    Args:
        labels: Class of each video (n,).
        num_clients: Number of clients N.
        alpha: Concentration, above 0; 0.1 is very uneven, 100 nearly IID.
        seed: Seed of the run.
        min_videos: What every client must have at least.

    Raises:
        DataListError: If `alpha` is not positive, or 100 draws leave a client with too little.
    """
    check_alpha(alpha)
    at_least_one(num_clients=num_clients)
    members = _members(labels)
    for attempt in range(_DIRICHLET_DRAWS):
        parts = _dirichlet_draw(members, num_clients, alpha, seed, attempt)
        if min(map(len, parts)) >= min_videos:
            return parts
    raise DataListError(f'{_DIRICHLET_DRAWS} draws with alpha={alpha:g} left one of {num_clients} clients with fewer '
                        f'than {min_videos} of {len(labels)} videos; raise alpha, or use fewer clients')


def shards(labels: np.ndarray, num_clients: int, shards_per_client: int, seed: int) -> Partition:
    """Sorts by class, cuts into N s equal shards, and deals s of them at random to each of the N clients.

    Raises:
        DataListError: If there are fewer videos than shards.
    """
    at_least_one(num_clients=num_clients, shards_per_client=shards_per_client)
    by_class = np.argsort(labels, kind='stable')
    pieces = _slices(by_class, num_clients * shards_per_client, 'videos', 'shard')
    dealt = generator(seed, 'partition').permutation(len(pieces)).reshape(num_clients, shards_per_client)
    return [np.concatenate([pieces[piece] for piece in np.sort(row)]) for row in dealt]


def by_value(values: Sequence[str], num_clients: int | None = None) -> dict[str, int]:
    """Returns the client of each distinct value, in sorted order (as text: '10' before '2').

    Args:
        values: Values, e.g. of the column ``site``, one per video.
        num_clients: None gives one client per value; a smaller number deals each client a run of neighbouring values by
            the slice rule. A value is never cut.

    Raises:
        DataListError: If there are more clients than values.
    """
    distinct = np.array(sorted(set(values)), dtype=object)
    groups = _slices(distinct, max(len(distinct), 1) if num_clients is None else num_clients, 'values')
    return {value: client for client, group in enumerate(groups) for value in group}


def mirrored(parts: Partition, labels: np.ndarray, held_out: np.ndarray) -> Partition:
    """Deals held-out videos so that each client is tested on what it trains on.

    The held-out videos of a class are cut in proportion to the training videos that each client has of it.

    Args:
        parts: The training videos of each client.
        labels: Classes of all training videos (n,).
        held_out: Classes of the held-out videos (m,).

    Returns:
        Ascending positions (m_k,) per client, in all m; a client may get none.

    Raises:
        DataListError: If no client trains on a held-out class.
    """
    members = _members(held_out)
    untrained = sorted(set(members) - set(np.unique(labels[np.concatenate(parts)]).tolist()))
    if untrained:
        raise DataListError(f'no client trains on class {_listed(untrained)}, so none can be tested on it; take it out '
                            f'of the split, or switch federation.evaluate_every off')
    counts = {label: np.array([np.count_nonzero(labels[part] == label) for part in parts]) for label in members}
    dealt: list[list[np.ndarray]] = [[] for _ in parts]
    for label, positions in members.items():
        for client, share in enumerate(np.split(positions, _cuts(counts[label], len(positions)))):
            dealt[client].append(share)
    return [np.sort(np.concatenate(shares)) for shares in dealt]


def at_least_one(**numbers: int) -> None:
    """Refuses what is not a whole number, or below 1, by name.

    Raises:
        DataListError: Naming the first such argument.
    """
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise DataListError(f'{name}={number!r} must be a whole number')
        if number < 1:
            raise DataListError(f'{name}={number} must be at least 1')


def check_alpha(alpha: float) -> None:
    """Refuses what is no concentration of a Dirichlet distribution.

    Raises:
        DataListError: If it is not positive and finite.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < np.inf:
        raise DataListError(f'alpha={alpha!r} must be positive and finite, a number')


def digest(parts: Partition) -> str:
    """Returns the SHA-256 of a partition: sizes and positions of all clients, as 64-bit little-endian numbers."""
    numbers = [np.array([len(parts), *map(len, parts)]), *parts]
    return sha256(b''.join(array.astype('<i8').tobytes() for array in numbers)).hexdigest()


def _cuts(weights: np.ndarray, count: int) -> np.ndarray:
    """Returns where to cut `count` items in proportion to `weights`."""
    return (count * np.cumsum(weights)[:-1] // weights.sum()).astype(np.int64)


def _members(labels: np.ndarray) -> dict[int, np.ndarray]:
    """Returns the ascending positions of each class."""
    classes, starts = np.unique(np.sort(labels, kind='stable'), return_index=True)
    positions = np.split(np.argsort(labels, kind='stable'), starts[1:])
    return dict(zip(classes.tolist(), positions, strict=True)) if len(labels) else {}


def _split(items: np.ndarray, groups: int) -> list[np.ndarray]:
    return list(items.reshape(groups, -1))


def _checked_blocks(num_classes: int, num_clients: int, classes_per_client: int) -> tuple[int, int]:
    """Returns the number of blocks, and of clients that share each."""
    at_least_one(num_clients=num_clients)
    if classes_per_client < 1 or num_classes % classes_per_client:
        fitting = [k for k in range(1, num_classes + 1) if num_classes % k == 0]
        raise DataListError(f'classes_per_client={classes_per_client} does not divide the {num_classes} classes; use '
                            f'one of {_listed(fitting)}, or a Dirichlet partition')
    blocks = num_classes // classes_per_client
    if num_clients % blocks:
        raise DataListError(f'{num_classes} classes, {classes_per_client} per client, make {blocks} blocks, which '
                            f'{num_clients} clients cannot share evenly; use a multiple of {blocks} clients')
    return blocks, num_clients // blocks


def _shuffled_halves(members: list[int], shuffle_seed: int) -> tuple[list[int], list[int]]:
    random.Random(shuffle_seed).shuffle(members)
    return members[:len(members) // 2], members[len(members) // 2:]


def _dirichlet_draw(members: dict[int, np.ndarray], num_clients: int, alpha: float, seed: int,
                    attempt: int) -> Partition:
    dealt: list[list[np.ndarray]] = [[] for _ in range(num_clients)]
    for label, positions in members.items():
        random_numbers = generator(seed, 'partition', 'class', label, attempt)
        shares = random_numbers.dirichlet(np.full(num_clients, alpha))
        cuts = (len(positions) * np.cumsum(shares)[:-1]).astype(np.int64)
        for client, share in enumerate(np.split(random_numbers.permutation(positions), cuts)):
            dealt[client].append(np.sort(share))
    return [np.concatenate(shares) if shares else np.empty(0, np.int64) for shares in dealt]


def _slices(items: np.ndarray, parts: int, what: str, part: str = 'client',
            may_be_empty: bool = False) -> list[np.ndarray]:
    at_least_one(**{f'num_{part}s': parts})
    count = len(items)
    bounds = [number * count // parts for number in range(parts + 1)]
    empty = [number for number in range(parts) if bounds[number] == bounds[number + 1]]
    if empty and not may_be_empty:
        raise DataListError(f'num_{part}s={parts}, but there are only {count} {what}: {part} {_listed(empty)} would '
                            f'have no data; use 1..{max(count, 1)} {part}s')
    return [items[start:stop] for start, stop in zip(bounds, bounds[1:], strict=False)]


def _none_empty(parts: Partition) -> Partition:
    empty = [client for client, part in enumerate(parts) if not len(part)]
    if empty:
        raise DataListError(f'client {_listed(empty)} would have no data; its classes are missing from the list')
    return parts


def _listed(numbers: Sequence[int]) -> str:
    return ', '.join(map(str, numbers[:10])) + (', ...' if len(numbers) > 10 else '')
