"""A whole federated run: from a validated config to the last commit."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from flwr.serverapp import Grid

from fedvssl.config import FederationConfig, RunConfig, config_hash, identity
from fedvssl.data.annotations import Video
from fedvssl.data.dataset import Dataset, build_dataset, list_digests, read_videos
from fedvssl.data.partition import Partition, digest
from fedvssl.data.partitioners import build_held_out, build_partitions, num_own_lists
from fedvssl.environment import describe_environment
from fedvssl.errors import ConfigError
from fedvssl.federated.client import build_client_app
from fedvssl.federated.costs import totals
from fedvssl.federated.engines import engine
from fedvssl.federated.server import Server, build_cohorts, build_server_app, build_strategy, initial_state
from fedvssl.models import BackboneModel, build_model
from fedvssl.sections import DEPLOYMENT
from fedvssl.state import FederatedState, RoundStore
from fedvssl.training.hooks import Hook, Hooks
from fedvssl.training.labels import visible
from fedvssl.training.logging import ConsoleHook, JsonlHook
from fedvssl.training.monitoring import check_monitors, monitored
from fedvssl.training.rehearsal import rehearse, require_same_classes
from fedvssl.training.trainer import build_trainer

logger = logging.getLogger('fedvssl')


def check_run(config: RunConfig) -> str:
    """Checks everything that can be checked without training, and returns a line that says what would run.

    Raises:
        FedVSSLError: For whatever is wrong.
    """
    config = config.federated()
    settings: FederationConfig = config.section('federation')
    if settings.engine != DEPLOYMENT:
        engine(settings.engine)
    data = _check_data(config)
    for dataset in data.datasets:
        dataset.check_files(config.data.max_bad_videos)
    build_cohorts(settings, config.seed, data.num_clients)
    state = initial_state(config, build_strategy(settings))
    _rehearse(config, build_trainer(config).model, data.datasets)
    check_monitors(config)
    shared = sum(tensor.nbytes for tensor in state.tensors.values())
    return (f'ok: {data}, {settings.rounds} rounds of {settings.clients_per_round} clients, '
            f'{len(state.tensors)} tensors ({shared / 1e6:.2f} MB) travel each way, config {config_hash(config)[:12]}')


def num_clients(config: RunConfig) -> int:
    """Returns how many clients a run has.

    Raises:
        FedVSSLError: If the lists are wrong or cannot be divided.
    """
    return _check_data(config.federated()).num_clients


def federate(config: RunConfig, work_dir: Path, resume: bool = False, hook: Hook | None = None) -> FederatedState:
    """Runs a federation by the engine that the config names, on this machine, to its last round.

    Args:
        config: The run.
        work_dir: Where it is kept; must not hold a run unless it is to be resumed.
        resume: Whether to continue the run there.
        hook: Side jobs, beside the config's monitors; by default progress on the console and ``log.jsonl``.

    Returns:
        The final state.

    Raises:
        FedVSSLError: For bad input, too few clients, storage and checkpoint failures; see `Server.run`.
    """
    config = config.federated()
    settings: FederationConfig = config.section('federation')
    if settings.engine == DEPLOYMENT:
        raise ConfigError('federation.engine: a deployment is run by tools/fed_train.py, which hands it to a SuperLink')
    run_engine = engine(settings.engine)
    with prepared(config, work_dir, resume, hook) as (server, digests):
        make_app = partial(build_client_app, config, work_dir.resolve(), digests)
        final: list[FederatedState] = []
        app = build_server_app(partial(serve, config, server), final.append)
        run_engine(app, make_app, settings, server.cohorts.num_clients)
        return final[0]


@contextmanager
def prepared(config: RunConfig, work_dir: Path, resume: bool = False,
             hook: Hook | None = None) -> Iterator[tuple[Server, dict[str, str]]]:
    """Checks a run, claims its work directory, and gives the server that stands where the run does.

    Args:
        config: The run as `RunConfig.federated` gives it; the others as for `federate`.

    Yields:
        The server, and the digests of lists and partition that the clients must find, too.

    Raises:
        FedVSSLError: For bad input, storage and checkpoint failures.
    """
    settings: FederationConfig = config.section('federation')
    data = _check_data(config)
    cohorts = build_cohorts(settings, config.seed, data.num_clients)
    strategy = build_strategy(settings)
    start = initial_state(config, strategy)
    _rehearse(config, build_model(config.model, config.seed), data.datasets)
    about = dict(config_hash=config_hash(config), seed=config.seed, strategy=settings.strategy,
                 environment=describe_environment())
    with closing(RoundStore(work_dir, config.runtime.keep_last, about)) as store:
        store.open(identity(config) | data.digests, resume)
        state = store.restore(start) if resume else start
        yield Server(settings, strategy, cohorts, state, store,
                     monitored(config, work_dir, hook or default_hook(work_dir)),
                     config.data.max_bad_videos, data.tested, data.sizes), data.digests


def serve(config: RunConfig, server: Server, grid: Grid) -> FederatedState:
    """Runs the rounds that are still to do on any engine's grid, and tells the hooks about the run."""
    settings, hook = server.settings, server.hook
    hook.before_run(dict(rounds=settings.rounds, first_round=server.state.round + 1,
                         clients=server.cohorts.num_clients, per_round=settings.clients_per_round,
                         strategy=settings.strategy['type'], engine=settings.engine, workers=settings.workers,
                         config=config_hash(config)[:12]))
    begun = time.perf_counter()
    try:
        final = server.run(grid)
    except BaseException as error:
        hook.after_run(dict(rounds=server.state.round, error=f'{type(error).__name__}: {error}'))
        raise
    hook.after_run(dict(rounds=final.round, seconds=time.perf_counter() - begun, **totals(final.costs),
                        clients={str(client): costs for client, costs in sorted(final.costs.items())},
                        checkpoint=str(server.store.rounds / 'latest'), reproducible=final.reproducible))
    return final


def default_hook(work_dir: Path) -> Hook:
    """Returns progress on the console and ``log.jsonl``."""
    return Hooks([ConsoleHook(), JsonlHook(work_dir / 'log.jsonl')])


def _rehearse(config: RunConfig, model: BackboneModel, datasets: list[Dataset]) -> None:
    """Passes a sample of each phase that the run uses through the model.

    Raises:
        ConfigError: If they do not go together.
    """
    for key, dataset in zip(('data.train', 'data.test'), datasets, strict=False):
        try:
            rehearse(model, dataset, config.seed, key)
        finally:
            dataset.close()  # the clients have processes of their own
    if datasets:
        require_same_classes(datasets[0], datasets[-1])


@dataclass(frozen=True)
class _Data:
    """What a run trains and measures on, as far as it can be known here.

    Attributes:
        num_clients: Declared partitions.
        partitions: The training videos of each client, as indices; none where every client has a list of its own.
        datasets: The training videos, without labels, followed by the held-out ones if the run measures on them.
        digests: Of lists and partition.
        tested: The clients that have held-out videos; None: any may have.
    """

    num_clients: int
    partitions: Partition = field(default_factory=list)
    datasets: list[Dataset] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    tested: frozenset[int] | None = None

    @property
    def sizes(self) -> dict[int, int]:
        """Training videos by partition."""
        return {client: len(indices) for client, indices in enumerate(self.partitions)}

    def __str__(self) -> str:
        """Says how many videos there are on how many clients."""
        if not self.partitions:
            return f'{self.num_clients} clients with lists of their own'
        counts = self.sizes.values()
        places, videos = sum(counts), len(np.unique(np.concatenate(self.partitions)))
        several = f', {places} with those on several clients,' if places != videos else ''
        return f'{videos} videos{several} on {self.num_clients} clients ({min(counts)} to {max(counts)} each)'


def _check_data(config: RunConfig) -> _Data:
    """Reads the lists and builds what reads the videos, unless they are the clients' own.

    Raises:
        ConfigError: If a sampler, transform or reader cannot be built, evaluation has no data, or clients with lists of
            their own are to be on one machine.
        DataListError: If a list is wrong or cannot be divided.
    """
    data, settings = config.data, config.section('federation')
    phases = [data.train]
    if settings.evaluate_every:
        if data.test is None:
            raise ConfigError('data.test: federation.evaluate_every needs it and the config does not have it')
        phases.append(data.test)
    own_lists = num_own_lists(data)
    if own_lists is not None:
        _require_hosts(settings)
        return _Data(own_lists)
    lists = [read_videos(data, phase.split) for phase in phases]
    datasets = [build_dataset(data, phase, visible(config.model, videos), replace_bad=False)
                for phase, videos in zip(phases, lists, strict=True)]
    partitions = build_partitions(data, lists[0], config.seed)
    digests = dict(list_digests(data), partition_sha256=digest(partitions))
    tested = _tested(config, lists[0], lists[1]) if len(lists) > 1 else frozenset()
    return _Data(len(partitions), partitions, datasets, digests, tested)


def _require_hosts(settings: FederationConfig) -> None:
    if settings.engine != DEPLOYMENT:
        raise ConfigError(f'data.partition.type: OwnListPartitioner is for clients on hosts of their own, which need '
                          f'federation.engine=deployment, not {settings.engine!r}; on one machine, take a partitioner '
                          f'that divides its list')


def _tested(config: RunConfig, train: Sequence[Video], test: Sequence[Video]) -> frozenset[int]:
    """Returns the clients that have held-out videos."""
    held_out = build_held_out(config.data, train, test, config.seed)
    tested = frozenset(client for client, indices in enumerate(held_out) if len(indices))
    if len(tested) < len(held_out):
        logger.warning('%d of %d clients have held-out videos; the others are not measured', len(tested), len(held_out))
    return tested
