"""A whole federated run: from a validated config to the last commit."""

import logging
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from flwr.app import Context, RecordDict

from fedvssl.config import FederationConfig, PhaseConfig, RunConfig, config_hash, identity
from fedvssl.data.dataset import read_videos
from fedvssl.data.partition import build_partitions
from fedvssl.errors import FedVSSLError, Interrupted
from fedvssl.federated.client import build_client_app
from fedvssl.federated.engines.answer import RUN_ID
from fedvssl.federated.engines.local import LocalGrid
from fedvssl.federated.engines.workers import WorkerGrid
from fedvssl.federated.server import Server, build_cohorts, build_server_app, build_strategy, initial_state
from fedvssl.state import FederatedState, RoundStore
from fedvssl.training.hooks import Hook, Hooks
from fedvssl.training.logging import ConsoleHook, JsonlHook

logger = logging.getLogger('fedvssl')


def check_run(config: RunConfig) -> str:
    """Checks everything that can be checked without training, and returns a line that says what would run.

    Raises:
        FedVSSLError: For whatever is wrong.
    """
    settings: FederationConfig = config.section('federation')
    sizes = _partition_sizes(config, config.data.train)
    build_cohorts(settings, config.seed, len(sizes))
    strategy = build_strategy(settings)
    state = initial_state(config, strategy)
    shared = sum(tensor.nbytes for tensor in state.tensors.values())
    if config.data.test is not None:
        _partition_sizes(config, config.data.test)
    return (f'ok: {sum(sizes)} videos on {len(sizes)} clients ({min(sizes)} to {max(sizes)} each), '
            f'{settings.rounds} rounds of {settings.clients_per_round} clients, '
            f'{len(state.tensors)} tensors ({shared / 1e6:.2f} MB) travel each way, config {config_hash(config)[:12]}')


def federate(config: RunConfig, work_dir: Path, resume: bool = False, hook: Hook | None = None) -> FederatedState:
    """Runs a federation to its last round.

    Args:
        config: The run.
        work_dir: Where it is kept; must not hold a run unless it is to be resumed.
        resume: Whether to continue the run there.
        hook: Side jobs; by default progress on the console and ``log.jsonl``.

    Returns:
        The final state.

    Raises:
        FedVSSLError: For bad input, too few clients, storage and checkpoint failures; see `Server.run`.
    """
    settings: FederationConfig = config.section('federation')
    num_clients = len(_partition_sizes(config, config.data.train))
    cohorts = build_cohorts(settings, config.seed, num_clients)
    strategy = build_strategy(settings)
    start = initial_state(config, strategy)
    store = RoundStore(work_dir, config.runtime.keep_last)
    store.open(identity(config), resume)
    state = store.restore(start) if resume else start
    hook = hook or Hooks([ConsoleHook(), JsonlHook(work_dir / 'log.jsonl')])
    server = Server(settings, strategy, cohorts, state, store, hook, config.data.max_bad_videos)
    hook.before_run(dict(rounds=settings.rounds, first_round=state.round + 1, clients=num_clients,
                         per_round=settings.clients_per_round, strategy=settings.strategy['type'],
                         engine=settings.engine, workers=settings.workers, config=config_hash(config)[:12]))
    begun = time.perf_counter()
    final: list[FederatedState] = []
    try:
        with closing(_build_grid(config, work_dir, num_clients)) as grid:
            context = Context(run_id=RUN_ID, node_id=1, node_config={}, state=RecordDict(), run_config={})
            build_server_app(server, final.append)(grid, context)
    except (FedVSSLError, Interrupted) as error:
        hook.after_run(dict(rounds=server.state.round, error=f'{type(error).__name__}: {error}'))
        raise
    hook.after_run(dict(rounds=final[0].round, seconds=time.perf_counter() - begun,
                        checkpoint=str(store.rounds / 'latest')))
    return final[0]


def _build_grid(config: RunConfig, work_dir: Path, num_clients: int) -> LocalGrid:
    settings = config.section('federation')
    make_app = partial(build_client_app, config, work_dir.resolve())
    if settings.workers == 0:
        logger.info('workers=0: clients run in this process; one that dies or hangs takes the run with it')
        return LocalGrid(make_app, num_clients)
    return WorkerGrid(make_app, num_clients, settings.workers, settings.client_timeout)


def _partition_sizes(config: RunConfig, phase: PhaseConfig) -> list[int]:
    videos = read_videos(config.data, phase.split)
    return [len(indices) for indices in build_partitions(config.data, videos, config.seed)]
