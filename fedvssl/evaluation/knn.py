r"""Weighted k-nearest-neighbour classification: how well features group by class, with nothing trained.

    score(c) = Σ_{i ∈ kNN} exp(sim_i / T) [y_i = c],   sim the cosine

Two conventions are in use, and both are reported: k = 200, T = 0.1 (InstDisc, and after it MoCo's and Lightly's code)
and k = 20, T = 0.07 (DINO, solo-learn). A class that got no vote is predicted by nobody: it is none of a query's first
five, even where fewer than five classes have votes.

Source: Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedvssl.config import RunConfig
from fedvssl.evaluation.features import GLOBAL_POOL
from fedvssl.evaluation.gallery import Search, fitting, search
from fedvssl.evaluation.neighbours import Neighbours
from fedvssl.evaluation.result import require_free, write_result

PUBLISHED = ((200, 0.1), (20, 0.07))
"""Pairs of k and T."""


def class_votes(similarities: Tensor, labels: Tensor, num_classes: int, temperature: float) -> Tensor:
    """Returns the votes for each class.

    Args:
        similarities: Cosines of the neighbours (Q, k).
        labels: Their classes, int64 (Q, k).
        num_classes: C.
        temperature: T, positive.

    Returns:
        float64 (Q, C). Every query's votes are divided by exp(max sim / T), which changes no order and keeps a small T
        from making them infinite.
    """
    shifted = similarities.double() - similarities.double().amax(dim=1, keepdim=True)
    votes = torch.zeros(len(labels), num_classes, dtype=torch.float64)
    return votes.scatter_add_(1, labels, (shifted / temperature).exp())


def ranked_classes(votes: Tensor, count: int) -> Tensor:
    """Returns the `count` classes with the most votes, int64 (Q, min(count, C)), the lower class first where votes are
    equal, and -1 in place of classes without a vote.
    """
    order = votes.sort(dim=1, descending=True, stable=True)
    ranked = order.indices.masked_fill(order.values <= 0, -1)
    return ranked[:, :count]


def knn_classes(neighbours: Neighbours, labels: Tensor, num_classes: int, k: int, temperature: float,
                count: int = 5) -> Tensor:
    """Returns the classes that the k nearest vote for, the first ones.

    Args:
        neighbours: At least k of each query.
        labels: Classes of the gallery, int64 (G,).
        num_classes: Number of classes, C.
        k: How many vote.
        temperature: T.
        count: Classes to return.

    Returns:
        int64 (Q, min(count, C)), see `ranked_classes`.
    """
    votes = class_votes(neighbours.similarities[:, :k], labels[neighbours.indices[:, :k]], num_classes, temperature)
    return ranked_classes(votes, count)


def evaluate_knn(config: RunConfig, checkpoint: str, work_dir: Path, directory: Path | None = None) -> dict[str, Any]:
    """Classifies the test videos by their neighbours among the training videos, and writes ``result.json``.

    Args:
        config: A run whose model learns labels; of the model only the backbone counts.
        checkpoint: Where the backbone comes from; ``'random'``: initial weights by the run's seed.
        work_dir: Where the result goes; must not hold one.
        directory: Where extracted features are kept; None keeps none.

    Returns:
        What ``result.json`` holds.

    Raises:
        ConfigError: If a k that the config asks for exceeds the gallery, or the config is not one of an evaluation.
        DataListError: If a list is wrong, a split is empty, or the splits do not have the same classes.
        CheckpointError: If the checkpoint holds no such backbone, or is damaged.
        BadVideosError: If too many videos are unreadable.
    """
    require_free(work_dir)
    asked = config.evaluation.knn if config.evaluation else None
    pairs = PUBLISHED if asked is None else [tuple(pair) for pair in asked]
    counts = [k for k, _ in pairs]

    def fit(size: int) -> list[int]:
        return fitting(counts, size, 'evaluation.knn', asked is not None)

    found = search(config, checkpoint, directory, GLOBAL_POOL, fit if asked else lambda size: None)
    settings = [dict(k=k, used_k=used, temperature=float(temperature))
                for (k, temperature), used in zip(pairs, fit(len(found.gallery)), strict=True)]
    return _classify(found, work_dir, settings)


def _classify(found: Search, work_dir: Path, settings: list[dict[str, Any]]) -> dict[str, Any]:
    """Searches once for all settings, and writes the result."""
    neighbours, seconds = found.nearest(max(setting['used_k'] for setting in settings))
    labels, target = found.gallery.labels, found.queries.labels
    num_classes = int(max(labels.max(), target.max())) + 1
    correct: dict[str, list[int]] = {}
    predicted: list[list[int]] = []
    for setting in settings:
        classes = knn_classes(neighbours, labels, num_classes, setting['used_k'], setting['temperature'])
        right = classes == target[:, None]
        correct[f'knn{setting["k"]}_top1'] = right[:, 0].int().tolist()
        correct[f'knn{setting["k"]}_top5'] = right.any(dim=1).int().tolist()
        predicted.append(classes[:, 0].tolist())
    protocol = found.protocol(GLOBAL_POOL)
    published = (protocol['label_fraction'] == 1 and
                 [(setting['used_k'], setting['temperature']) for setting in settings] == list(PUBLISHED))
    return write_result(
        work_dir, found.config, 'knn',
        dict(name='knn' if published else 'knn-modified', settings=settings, classes=num_classes, weight='exp(sim / T)',
             **protocol),
        measured={name: sum(right) / len(right) for name, right in correct.items()}, n=len(target), shares=correct,
        correct=correct, predicted=predicted[0], predicted_by=f'knn{settings[0]["k"]}', seconds=seconds,
        **found.describe())
