"""What an exact search costs: UCF-101's test videos against its training videos, as retrieval does it, and peers.

Every contestant runs in a process of its own (`search_run`), several times in turns, so that a disturbance of the
machine hits all alike. Time on a busy machine says little: CPU time and the load average are there as well.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedvssl.benchmarks.measuring import spread
from fedvssl.benchmarks.search_run import CONTESTANTS
from fedvssl.environment import describe_environment
from fedvssl.errors import FedVSSLError

UCF101 = dict(gallery=9537, queries=3783, dimension=9216)
"""Split 1, feature maps of R3D-18 averaged to (2, 3, 3)."""
K, SEED = 50, 7
OURS = 'ours'
BARS = (('wall_s', 10.0), ('peak_memory_gb', 2.0))


def measure_search(repeats: int, threads: int, report: Callable[[str, Mapping[str, Any]], None],
                   sizes: Mapping[str, int] = UCF101, k: int = K) -> dict[str, Any]:
    """Compares searches on random features.

    Args:
        repeats: Runs of each contestant.
        threads: Threads of each.
        report: Told name and figures of each contestant.
        sizes: ``gallery``, ``queries`` and ``dimension``.
        k: Neighbours of each query.

    Returns:
        JSON values: figures by contestant, ``same_places`` (share of the neighbours that are ours, rank by rank),
        ``bars``; with load averages, hardware and versions.

    Raises:
        FedVSSLError: If a contestant fails; with the end of what it said.
    """
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
    places: dict[str, np.ndarray] = {}
    loads = [os.getloadavg()[0]]
    for repeat in range(repeats):
        for name in list(CONTESTANTS)[::-1 if repeat % 2 else 1]:
            figures, places[name] = _run(dict(sizes, search=name, k=k, threads=threads, seed=SEED))
            runs[name].append(figures)
            loads.append(os.getloadavg()[0])
    searches: dict[str, dict[str, Any]] = {
        name: dict({key: spread(run[key] for run in measured) for key in measured[0]},
                   same_places=float((places[name] == places[OURS]).mean()))
        for name, measured in runs.items()}
    for name, summary in searches.items():
        report(name, summary)
    bars = [dict(quantity=quantity, at_most=bar, measured=searches[OURS][quantity]['median'],
                 met=searches[OURS][quantity]['median'] <= bar) for quantity, bar in BARS]
    return dict(benchmark='retrieval', **sizes, k=k, threads=threads, repeats=repeats, searches=searches, bars=bars,
                load_average=spread(loads), environment=describe_environment())


def _run(job: Mapping[str, Any]) -> tuple[dict[str, float], np.ndarray]:
    """Returns figures and neighbours of one run."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, '-m', 'fedvssl.benchmarks.search_run', json.dumps(dict(job, out=directory))]
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode:
            raise FedVSSLError(f'{job["search"]}: exit code {ended.returncode}:\n{ended.stderr[-2000:]}')
        return (json.loads((Path(directory) / 'figures.json').read_text()),
                np.load(Path(directory) / 'places.npy', allow_pickle=False))
