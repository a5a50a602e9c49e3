"""What an engine costs: the local one against Flower's own Ray simulation, in rounds without training.

Every contestant runs in a process of its own (`peer_run`), several times in turns, so that a disturbance of the machine
hits all alike. *A round* is the median over the rounds but the first; *start-up* is all CPU time up to the end of the
first round, less a round. Memory is the peak of all its processes together, what they share counted once.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedvssl.benchmarks.measuring import spread
from fedvssl.benchmarks.processes import PeakMemory
from fedvssl.environment import describe_environment
from fedvssl.errors import FedVSSLError

Job = Mapping[str, Any]

CLIENTS = 5
CONTESTANTS: dict[str, Job] = {
    'local, workers=0': dict(engine='local', workers=0),
    'local, workers=1': dict(engine='local', workers=1),
    'local, workers=2': dict(engine='local', workers=2),
    'ray': dict(engine='ray', workers=2),
    "flower's FedAvg on ray": dict(engine='flower', workers=2),
    'local, workers=0, commits': dict(engine='local', workers=0, commits=True),
}
COHORTS = (5, 10, 25, 50)  # of workers=0 and 1, to see whether cost and memory stay flat
# Contestant, quantity, bar; and how many times cheaper than its Ray peers the local engine is to be.
BARS = (('local, workers=0', 'round_cpu_s', 0.75), ('local, workers=1', 'round_cpu_s', 1.0),
        ('local, workers=0', 'peak_memory_gb', 2.0), ('local, workers=1', 'peak_memory_gb', 2.0))
OURS, PEERS = 'local, workers=0', ('ray', "flower's FedAvg on ray")
RATIOS = (('round_cpu_s', 5.0), ('startup_cpu_s', 6.0))


def measure_engines(rounds: int, repeats: int, report: Callable[[str, Mapping[str, Any]], None],
                    cohorts: Sequence[int] = COHORTS) -> dict[str, Any]:
    """Compares the engines.

    Args:
        rounds: Rounds of each run, at least 2.
        repeats: Runs of each contestant.
        report: Told name and figures of each contestant.
        cohorts: Clients a round, for the question of flatness.

    Returns:
        ``engines`` and ``cohorts`` (figures by name), ``times_cheaper`` than each peer on Ray, ``bars``; with hardware
        and versions.

    Raises:
        FedVSSLError: If a contestant fails; with the end of what it said.
    """
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
    for repeat in range(repeats):
        for name in list(CONTESTANTS)[::-1 if repeat % 2 else 1]:
            runs[name].append(_run(dict(CONTESTANTS[name], clients=CLIENTS), rounds))
    engines = {name: _figures(measured) for name, measured in runs.items()}
    flat = {f'local, workers={workers}, {clients} clients':
            _figures([_run(dict(engine='local', workers=workers, clients=clients), rounds)])
            for workers in (0, 1) for clients in cohorts}
    for name, figures in (engines | flat).items():
        report(name, figures)
    return dict(benchmark='engines', clients=CLIENTS, rounds=rounds, repeats=repeats, engines=engines, cohorts=flat,
                times_cheaper=_ratios(engines), bars=_bars(engines), environment=describe_environment())


def _run(job: Job, rounds: int) -> dict[str, float]:
    """Returns the figures of one run."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / 'ends.json'
        described = json.dumps(dict(job, rounds=rounds, out=str(out)))
        command = [sys.executable, '-m', 'fedvssl.benchmarks.peer_run', described]
        with (Path(directory) / 'log').open('w+') as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            memory = PeakMemory(process.pid)
            code, peak = process.wait(), memory.stop()
            if code or not out.exists():
                log.seek(0)
                raise FedVSSLError(f'{dict(job)}: exit code {code}:\n{log.read()[-2000:]}')
        ends = json.loads(out.read_text())
    each = [after - before for before, after in zip(ends, ends[1:], strict=False)]
    usual = statistics.median(each)
    return dict(round_cpu_s=usual, startup_cpu_s=ends[0] - usual, peak_memory_gb=peak / 1e9,
                round_cpu_s_per_client=usual / job['clients'])


def _figures(runs: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {key: spread(run[key] for run in runs) for key in runs[0]}


def _ratios(engines: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    return {peer: {key: engines[peer][key]['median'] / engines[OURS][key]['median']
                   for key in ('round_cpu_s', 'startup_cpu_s', 'peak_memory_gb')} for peer in PEERS}


def _bars(engines: Mapping[str, Any]) -> list[dict[str, Any]]:
    bars = [dict(of=name, quantity=quantity, at_most=bar, measured=engines[name][quantity]['median'])
            for name, quantity, bar in BARS]
    ratios = _ratios(engines)
    bars += [dict(of=OURS, quantity=quantity, times_cheaper=bar, than=peer, measured=ratios[peer][quantity])
             for peer in PEERS for quantity, bar in RATIOS]
    return [dict(bar, met=bar['measured'] <= bar['at_most'] if 'at_most' in bar
                 else bar['measured'] >= bar['times_cheaper']) for bar in bars]
