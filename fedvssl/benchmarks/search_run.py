"""One contestant of the benchmark of retrieval, in a process of its own: random features, the k nearest of each query.

    python -m fedvssl.benchmarks.search_run '{"search": "ours", "gallery": 9537, "queries": 3783, "dimension": 9216,
                                              "k": 50, "threads": 2, "seed": 7, "out": DIRECTORY}'

Writes ``figures.json`` and ``places.npy`` (the neighbours, for comparison) into the directory. Making the features is
not timed; the peak of memory is that of the whole process, features and libraries included.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fedvssl.evaluation.neighbours import nearest
from fedvssl.rng import seed_torch


def ours(queries: Tensor, gallery: Tensor, k: int) -> np.ndarray:
    """Searches as retrieval and kNN do."""
    return nearest(queries, gallery, k).indices.numpy()


def whole_matrix(queries: Tensor, gallery: Tensor, k: int) -> np.ndarray:
    """Searches in three lines of torch: all similarities at once."""
    cosines = F.normalize(queries, dim=1) @ F.normalize(gallery, dim=1).T
    return cosines.topk(k, dim=1).indices.numpy()


def scikit_learn(queries: Tensor, gallery: Tensor, k: int) -> np.ndarray:
    """Searches by scikit-learn, whose working memory is 1 GB unless told otherwise."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k, metric='cosine', algorithm='brute').fit(gallery.numpy())
    return search.kneighbors(queries.numpy(), return_distance=False)


CONTESTANTS: dict[str, Callable[[Tensor, Tensor, int], np.ndarray]] = {
    'ours': ours, 'torch, all at once': whole_matrix, 'scikit-learn': scikit_learn}


def main(job: dict) -> None:
    """Makes the features, searches, and writes what it cost."""
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(job['threads'])
    seed_torch(job['seed'], 'benchmark', 'features')
    gallery, queries = (torch.randn(job[name], job['dimension']) for name in ('gallery', 'queries'))
    search = CONTESTANTS[job['search']]
    with threadpool_limits(job['threads']):  # of the libraries under numpy, which torch's setting does not reach
        search(queries[:64], gallery[:64], 1)  # imports, threads
        begun, cpu = time.perf_counter(), time.process_time()
        places = search(queries, gallery, job['k'])
        wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    out = Path(job['out'])
    np.save(out / 'places.npy', places)
    (out / 'figures.json').write_text(json.dumps(dict(wall_s=wall, cpu_s=cpu, peak_memory_gb=peak / 1e9)))


if __name__ == '__main__':
    main(json.loads(sys.argv[1]))
