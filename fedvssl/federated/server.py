"""The server: rounds of draw, train, aggregate, commit.

Flower's `Strategy.start` is one closed loop without resume, quorum or checks; here the strategy is asked for its
messages and given checked replies, and a round counts only once it is committed.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from fedvssl.config import FederationConfig, RunConfig
from fedvssl.errors import INTERNAL_ERROR, BadVideosError, ConfigError, QuorumError, error_kind, suggest
from fedvssl.federated.arrays import to_arrays, to_record
from fedvssl.federated.batch_norms import BatchNorms
from fedvssl.federated.cohort import Cohorts, Roster
from fedvssl.federated.costs import Costs, spent
from fedvssl.federated.guard import Exchange, Failure, Guard, finiteness_fault
from fedvssl.federated.messages import (
    ARRAYS,
    ATTEMPT,
    BAD_VIDEOS,
    CONFIG,
    EXAMPLES,
    HEAD_ROUND,
    NO_HEAD,
    ROUND,
    config_of,
)
from fedvssl.federated.noise import require_noisable
from fedvssl.federated.strategies.base import FederatedStrategy
from fedvssl.registry import STRATEGIES, build
from fedvssl.state import FederatedState, RoundStore
from fedvssl.training.hooks import Hook, Metrics

logger = logging.getLogger('fedvssl')


def build_strategy(settings: FederationConfig) -> FederatedStrategy:
    """Builds the strategy of a config.

    Raises:
        ConfigError: If the strategy refuses its arguments, or a round asks fewer clients than it needs.
    """
    strategy: FederatedStrategy = build(STRATEGIES, settings.strategy, 'federation.strategy')
    if settings.clients_per_round < strategy.minimum_replies:
        raise ConfigError(f'federation.clients_per_round: {settings.strategy["type"]} with these arguments needs '
                          f'{strategy.minimum_replies} replies a round, not {settings.clients_per_round}')
    return strategy


def build_cohorts(settings: FederationConfig, seed: int, num_clients: int) -> Cohorts:
    """Builds the draw of each round's clients.

    Raises:
        ConfigError: If a round wants more clients than there are.
    """
    if settings.clients_per_round > num_clients:
        raise ConfigError(f'federation.clients_per_round: {settings.clients_per_round} clients are wanted per round, '
                          f'but data.partition makes only {num_clients}')
    return Cohorts(seed, num_clients, settings.clients_per_round)


def initial_state(config: RunConfig, strategy: FederatedStrategy) -> FederatedState:
    """Builds the state before round 1: the shared part of the model that the run's seed gives.

    Raises:
        ConfigError: If the model refuses its arguments, or has nothing that the strategy is to exchange, or noise
            cannot be put on that, or updates are clipped that rounding on the way would change.
    """
    from fedvssl.models import build_model

    model = build_model(config.model, config.seed)
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    tensors = {name: tensor for name, tensor in tensors.items() if name.split('.', 1)[0] not in model.client_local}
    parts = {name.split('.', 1)[0] for name in tensors}
    for part in strategy.exchange:
        if part in model.client_local:
            raise ConfigError(f'federation.strategy.exchange: {part!r} of {type(model).__name__} stays with its client')
        if part not in parts:
            raise ConfigError(f'federation.strategy.exchange: the model has no part {part!r}{suggest(part, parts)}')
    strategy.describe(BatchNorms.of(model))
    shared = strategy.shared(tensors)
    if not shared:
        raise ConfigError(f'federation.strategy.bn: {strategy.bn!r} leaves nothing of {", ".join(parts)} to exchange')
    settings = config.section('federation')
    local_dp = settings.local_dp
    if local_dp is not None:
        require_noisable(shared)
    if settings.wire_dtype and (strategy.clips or local_dp is not None):
        raise ConfigError(f'federation.wire_dtype: {settings.wire_dtype!r} goes with neither clip_norm, CentralDP nor '
                          f'local_dp: clients would start from rounded weights, and the rounding of all weights, which '
                          f'is larger than most updates, would be clipped with them; leave it out')
    repeats = strategy.reproducible and (local_dp is None or local_dp.seeded_noise)
    return FederatedState(round=0, tensors=shared, reproducible=repeats)


def build_server_app(serve: Callable[[Grid], FederatedState], done: Callable[[FederatedState], None]) -> ServerApp:
    """Wraps what serves a grid into Flower's app; `done` gets the final state, since an app returns nothing."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        done(serve(grid))

    return app


@dataclass
class Server:
    """Runs the rounds that a state still lacks.

    Attributes:
        settings: The federation.
        strategy: Makes messages and aggregates replies.
        cohorts: Who takes part.
        state: Where the run stands.
        store: Where it is kept.
        hook: Side jobs.
        max_bad_videos: Accepted share of unreadable videos.
        tested: Clients that have held-out videos; None: any may have.
        sizes: Training videos by partition, as far as the server knows them.
    """

    settings: FederationConfig
    strategy: FederatedStrategy
    cohorts: Cohorts
    state: FederatedState
    store: RoundStore
    hook: Hook
    max_bad_videos: float
    tested: frozenset[int] | None = None
    sizes: Mapping[int, int] = field(default_factory=dict)

    def run(self, grid: Grid) -> FederatedState:
        """Runs to the last round and returns the final state.

        Raises:
            QuorumError: If too few clients delivered, `max_attempts` times in a row.
            BadVideosError: If the clients met too many unreadable videos.
            StorageError: If a round cannot be committed.
        """
        self.strategy.load_state(self.state.strategy, self.state.strategy_tensors)
        if self.state.round < self.settings.rounds:
            self._gather(grid)
        for number in range(self.state.round + 1, self.settings.rounds + 1):
            self.hook.before_round(number, self.settings.clients_per_round)
            begun = time.perf_counter()
            state = self._train(grid, number)
            state = self._evaluate(grid, state)
            state = replace(state, metrics={**state.metrics, **spent(self.state.costs, state.costs),
                                            'seconds': time.perf_counter() - begun})
            self._require_sound_videos(state)
            self.store.commit(state)
            self.state = state
            self.hook.after_round(number, state.metrics)
        return self.state

    def _gather(self, grid: Grid) -> None:
        """Waits for all clients, but not for ever: who comes later is used from then on."""
        self._roster, everybody = Roster(self.cohorts.num_clients), range(self.cohorts.num_clients)
        self._roster.wait(grid, everybody, len(everybody), self.settings.join_timeout, strict=True)
        if len(self._roster.partition_of) < len(everybody):
            logger.warning('%d of %d clients joined within %g s (federation.join_timeout)',
                           len(self._roster.partition_of), len(everybody), self.settings.join_timeout)
        self.strategy.bind(self.cohorts, self._roster)

    def _train(self, grid: Grid, number: int) -> FederatedState:
        """Trains one round, with a new cohort for each attempt, until enough clients delivered."""
        arrays = to_record(self.state.tensors)
        on_wire = self._on_wire(self.state)
        wanted = self.settings.clients_per_round
        needed = math.ceil(self.settings.min_success * wanted - 1e-9)  # 0.28 * 25 is 7, not 8
        needed = max(needed, self.strategy.minimum_replies)
        costs, reproducible = Costs(self.state.costs), self.state.reproducible
        for attempt in range(1, self.settings.max_attempts + 1):
            exchange = Exchange(number, attempt)
            guard = Guard(on_wire, self._roster, exchange, self.hook, self.sizes)
            self._require_present(grid, guard, needed)
            config = ConfigRecord({ROUND: number, ATTEMPT: attempt})
            messages = self._addressed(self.strategy.configure_train(number, arrays, config, grid), on_wire)
            replies = guard(grid.send_and_receive(messages, timeout=self.settings.client_timeout))
            new, metrics = self.strategy.aggregate_train(number, replies)
            costs.add(messages, self._roster, exchange)
            reproducible = reproducible and not exchange.depends_on_time
            if new is not None and len(exchange.metrics) >= needed:
                return replace(self._after(exchange, new, dict(metrics or {})), costs=costs.by_client,
                               reproducible=reproducible)
            self.strategy.load_state(self.state.strategy, self.state.strategy_tensors)
            _raise_if_hopeless(exchange)
            logger.warning('round %d, attempt %d: %d of %d clients delivered, %d are needed', number, attempt,
                           len(exchange.metrics), wanted, needed)
        raise QuorumError(f'round {number}: in {self.settings.max_attempts} attempts never {needed} of {wanted} '
                          f'clients delivered; last reasons: {_reasons(exchange)}')

    def _require_present(self, grid: Grid, guard: Guard, needed: int) -> None:
        """Waits until enough of the cohort is connected; who is not has failed."""
        exchange = guard.exchange
        cohort = self.cohorts.draw(exchange.round, exchange.attempt)
        self._roster.wait(grid, cohort, needed, self.settings.join_timeout)
        for partition in sorted(set(cohort) - set(self._roster.node_of)):
            guard.refuse(partition, Failure('no connected node holds it', lost=True))

    def _on_wire(self, state: FederatedState) -> ArrayRecord:
        """Returns the shared tensors as they travel.

        Raises:
            ConfigError: If they do not fit into the wire type.
        """
        record = to_record(state.tensors, self.settings.wire_dtype)
        fault = self.settings.wire_dtype and finiteness_fault(to_arrays(record))
        if fault:
            raise ConfigError(f'federation.wire_dtype: {self.settings.wire_dtype}: {fault} in it; take bf16, or None')
        return record

    def _after(self, exchange: Exchange, new: ArrayRecord, metrics: dict[str, Any]) -> FederatedState:
        state, delivered, number = self.state, exchange.metrics, exchange.round
        summary = {**metrics, 'clients': len(delivered), 'failures': len(exchange.failures),
                   'attempt': exchange.attempt}
        return FederatedState(
            round=number,
            tensors=to_arrays(new),
            strategy=self.strategy.state_dict(),
            strategy_tensors=self.strategy.state_tensors(),
            heads={**state.heads, **{p: number for p, m in delivered.items() if m.get(HEAD_ROUND) == number}},
            bad_videos={**state.bad_videos, **{p: int(m.get(BAD_VIDEOS, 0)) for p, m in delivered.items()}},
            examples={**state.examples, **{p: int(m[EXAMPLES]) for p, m in delivered.items()}},
            metrics=summary,
        )

    def _evaluate(self, grid: Grid, state: FederatedState) -> FederatedState:
        """Measures the new model on the clients that have trained, every `evaluate_every` rounds and at the end."""
        every = self.settings.evaluate_every
        if not every or (state.round % every and state.round != self.settings.rounds):
            return state
        messages = [message for message in self.strategy.configure_evaluate(
            state.round, to_record(state.tensors), ConfigRecord({ROUND: state.round}), grid)
            if self._has_test(self._roster.partition_of[message.metadata.dst_node_id], state)]
        if not messages:
            return state
        addressed = self._addressed(messages, self._on_wire(state), state.heads)
        exchange, costs = Exchange(state.round), Costs(state.costs)
        guard = Guard(None, self._roster, exchange, _EvaluationFailures(self.hook))
        replies = grid.send_and_receive(addressed, timeout=self.settings.client_timeout)
        measured = dict(self.strategy.aggregate_evaluate(state.round, guard(replies)) or {})
        costs.add(addressed, self._roster, exchange)
        return replace(state, costs=costs.by_client, metrics={
            **state.metrics, **{f'test_{key}': value for key, value in measured.items()}})

    def _has_test(self, partition: int, state: FederatedState) -> bool:
        return partition in state.examples and (self.tested is None or partition in self.tested)

    def _addressed(self, messages: Iterable[Message], on_wire: ArrayRecord,
                   heads: Mapping[int, int] | None = None) -> list[Message]:
        """Puts into each message the tensors as they travel, and which head its client is to load.

        The messages of a round may share their records.
        """
        heads, stamped = self.state.heads if heads is None else heads, []
        for message in messages:
            head = heads.get(self._roster.partition_of[message.metadata.dst_node_id], NO_HEAD)
            config = ConfigRecord({**config_of(message.content), HEAD_ROUND: head})
            message.content = RecordDict({**message.content, ARRAYS: on_wire, CONFIG: config})
            stamped.append(message)
        return stamped

    def _require_sound_videos(self, state: FederatedState) -> None:
        bad, examples = sum(state.bad_videos.values()), sum(state.examples.values())
        if bad > self.max_bad_videos * examples:
            clients = ', '.join(str(partition) for partition, count in sorted(state.bad_videos.items()) if count)
            raise BadVideosError(
                f'{bad} of {examples} videos are unreadable, more than max_bad_videos = {self.max_bad_videos:g} allows;'
                f' clients {clients} name them in {self.store.work_dir}/clients/<client>/bad_videos.json')


class _EvaluationFailures(Hook):
    """Tells another hook which clients could not be measured; the others' numbers are in the round's."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook

    def after_step(self, number: int, metrics: Metrics) -> None:
        """Passes failures on."""
        if 'failure' in metrics:
            self._hook.after_step(number, {**metrics, 'phase': 'evaluation'})


def _raise_if_hopeless(exchange: Exchange) -> None:
    """Raises the clients' own error if all of them report the same kind: trying again would repeat it."""
    codes = {failure.exit_code for failure in exchange.failures.values()}
    kind = error_kind(codes.pop() or INTERNAL_ERROR) if len(codes) == 1 else None
    if kind and not exchange.metrics:
        raise kind(_reasons(exchange))


def _reasons(exchange: Exchange) -> str:
    return '; '.join(f'client {partition}: {failure.reason}'
                     for partition, failure in sorted(exchange.failures.items())) or 'none'
