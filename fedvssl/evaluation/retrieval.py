"""Nearest-neighbour retrieval: whether the videos most like a test video show the same action.

    R@k = share of the queries with a video of their class among the k nearest of the gallery, by cosine similarity

Published (FedVSSL, after VCOP): test videos against training videos of split 1, feature maps averaged to (2, 3, 3) and
flattened, mean over 10 clips, k = 1, 5, 10, 20, 50. FedVSSL's code leaves the queries' length as it is, which changes
no order.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedvssl.commit import write_json
from fedvssl.config import RunConfig
from fedvssl.evaluation.features import retrieval_pool
from fedvssl.evaluation.gallery import Search, fitting, search
from fedvssl.evaluation.neighbours import Neighbours
from fedvssl.evaluation.protocol import FINETUNE, is_published_backbone
from fedvssl.evaluation.result import require_free, write_result

PUBLISHED = (1, 5, 10, 20, 50)
"""The k of R@k."""
PUBLISHED_POOL = [2, 3, 3]

NEIGHBOURS_FILE = 'neighbours.json'
SHOWN = 10  # neighbours of each query in that file


def first_hits(neighbours: Neighbours, labels: Tensor, targets: Tensor) -> Tensor:
    """Returns the rank of the nearest neighbour of the right class.

    Args:
        neighbours: k of each of Q queries.
        labels: Classes of the gallery, int64 (G,).
        targets: Classes of the queries, int64 (Q,).

    Returns:
        int64 (Q,), counted from 1; k + 1 where there is none.
    """
    right = labels[neighbours.indices] == targets[:, None]
    before = right.to(torch.int64).cumsum(dim=1) == 0  # the wrong ones nearer than any right one
    return before.sum(dim=1) + 1


def recall_at(ranks: Tensor, k: int) -> float:
    """Returns R@k, given the queries' `first_hits`."""
    return float((ranks <= k).double().mean())


def evaluate_retrieval(config: RunConfig, checkpoint: str, work_dir: Path,
                       directory: Path | None = None) -> dict[str, Any]:
    """Retrieves training videos by test videos; writes ``result.json``, and who was found in ``neighbours.json``.

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
    asked = config.evaluation.recall_at if config.evaluation else None
    counts = list(PUBLISHED if asked is None else asked)

    def fit(size: int) -> list[int]:
        return fitting(counts, size, 'evaluation.recall_at', asked is not None)

    found = search(config, checkpoint, directory, retrieval_pool(config), fit if asked else lambda size: None)
    return _retrieve(found, work_dir, counts, fit(len(found.gallery)))


def _retrieve(found: Search, work_dir: Path, counts: Sequence[int], used: Sequence[int]) -> dict[str, Any]:
    gallery, queries = found.gallery, found.queries
    neighbours, seconds = found.nearest(max(*used, min(SHOWN, len(gallery))))
    ranks = first_hits(neighbours, gallery.labels, queries.labels)
    correct = {f'recall{k}': (ranks <= taken).int().tolist() for k, taken in zip(counts, used, strict=True)}
    measured = {f'recall{k}': recall_at(ranks, taken) for k, taken in zip(counts, used, strict=True)}
    protocol = dict(recall_at=list(counts), used_k=list(used), **found.protocol(retrieval_pool(found.config)))
    published = (tuple(used) == PUBLISHED and protocol['pool'] == PUBLISHED_POOL
                 and protocol['clips'] == FINETUNE['test'] and protocol['label_fraction'] == 1
                 and is_published_backbone(protocol['backbone']) and not found.shared_videos)
    write_json(work_dir / NEIGHBOURS_FILE, dict(queries=_listed(found, neighbours, ranks)))
    return write_result(
        work_dir, found.config, 'retrieval', dict(protocol, name='fedvssl-retrieval' if published else 'retrieval'),
        measured=measured, n=len(queries), shares=measured, correct=correct, seconds=seconds,
        neighbours=NEIGHBOURS_FILE, **found.describe())


def _listed(found: Search, neighbours: Neighbours, ranks: Tensor) -> list[dict[str, Any]]:
    """Returns each query and its first neighbours, as JSON values; labels count from 0."""
    gallery, queries, width = found.gallery, found.queries, neighbours.indices.shape[1]
    labels = gallery.labels.tolist()
    return [dict(path=path, label=label, first_hit=rank if rank <= width else None,
                 neighbours=[dict(path=gallery.paths[index], label=labels[index], similarity=round(similarity, 6))
                             for index, similarity in zip(indices, similarities, strict=True)])
            for path, label, rank, indices, similarities in zip(
                queries.paths, queries.labels.tolist(), ranks.tolist(), neighbours.indices[:, :SHOWN].tolist(),
                neighbours.similarities[:, :SHOWN].tolist(), strict=True)]
