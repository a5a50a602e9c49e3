"""One contestant of the comparison of engines, in a process of its own: rounds without training.

    python -m fedvssl.benchmarks.peer_run '{"engine": "local", "workers": 0, "clients": 5, "rounds": 6, "out": FILE}'

Clients load what they receive into a network of R3D-18's tensors and send it back. The server is ours with
FedVSSL(0.9, 0), on one of our engines; or, as engine ``flower``, Flower's own loop with its own FedAvg on its own Ray
simulation, and the client that a Flower user writes. What is counted is the CPU time of this process and all that it
has started, at the end of each round.
"""

import functools
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedvssl.benchmarks.processes import cpu_seconds
from fedvssl.federated.messages import (
    ARRAYS,
    EXAMPLES,
    HEAD_ROUND,
    LOSS,
    METRICS,
    NO_HEAD,
    arrays_of,
    identify,
    partition_of,
)
from fedvssl.training.hooks import Hook, Metrics

NUM_CLIENTS = 100


def r3d18_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields name and shape of R3D-18's 120 tensors: 33.2 million numbers, and 20 counters of shape ()."""
    widths, convolutions = (64, 64, 128, 256, 512), [('conv1', (64, 3, 3, 7, 7))]
    for stage in range(1, 5):
        for block in range(2):
            before, width = widths[stage - (block == 0)], widths[stage]
            convolutions.append((f'layer{stage}.{block}.conv1', (width, before, 3, 3, 3)))
            convolutions.append((f'layer{stage}.{block}.conv2', (width, width, 3, 3, 3)))
            if block == 0 and stage > 1:
                convolutions.append((f'layer{stage}.{block}.downsample', (width, before, 1, 1, 1)))
    for name, shape in convolutions:
        yield f'backbone.{name}.conv.weight', shape
        for part in ('weight', 'bias', 'running_mean', 'running_var'):
            yield f'backbone.{name}.bn.{part}', shape[:1]
        yield f'backbone.{name}.bn.num_batches_tracked', ()


@functools.cache
def network() -> dict[str, Any]:
    """Returns the tensors of this process's network."""
    import torch

    torch.set_num_threads(1)
    return {name: torch.zeros(shape, dtype=torch.float32 if shape else torch.int64) for name, shape in r3d18_shapes()}


def make_app() -> ClientApp:
    """Builds our client app."""
    app = ClientApp()
    app.train()(answer)
    app.query()(identify)
    return app


def answer(message: Message, context: Context) -> Message:
    """Loads and sends back as our client does."""
    import torch

    from fedvssl.federated.arrays import to_arrays, to_record

    with warnings.catch_warnings():  # read-only arrays: they are only copied from
        warnings.simplefilter('ignore', UserWarning)
        for name, array in to_arrays(arrays_of(message.content)).items():
            network()[name].copy_(torch.from_numpy(array))
    return _reply(message, context, to_record({name: tensor.numpy() for name, tensor in network().items()}))


def answer_as_flower_users_do(message: Message, context: Context) -> Message:
    """Loads and sends back with Flower's own conversions."""
    tensors = network()  # first, since it imports torch, which Flower only uses if it is there
    for name, tensor in arrays_of(message.content).to_torch_state_dict().items():
        tensors[name].copy_(tensor)
    return _reply(message, context, ArrayRecord(tensors))


def _reply(message: Message, context: Context, arrays: ArrayRecord) -> Message:
    partition = partition_of(context)
    metrics = MetricRecord({EXAMPLES: 100 + partition, LOSS: 1 + partition / 100, HEAD_ROUND: NO_HEAD})
    return Message(RecordDict({ARRAYS: arrays, METRICS: metrics}), reply_to=message)


class RoundClock(Hook):
    """CPU seconds so far at the end of each round; what the looking takes (some milliseconds) is in the next one."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def after_round(self, number: int, metrics: Metrics) -> None:
        """Looks.

        Raises:
            RuntimeError: If a client has failed: such a round costs less.
        """
        if metrics['failures']:
            raise RuntimeError(f'{metrics["failures"]} clients failed')
        self.ends.append(cpu_seconds(os.getpid()))


class NoStore:
    """Keeps nothing, as Flower does."""

    def commit(self, state: Any) -> None:
        """Does nothing."""


def run_ours(job: dict[str, Any], clock: RoundClock) -> None:
    """Runs our server on an engine of ours."""
    from fedvssl.federated.cohort import Cohorts
    from fedvssl.federated.engines import engine
    from fedvssl.federated.server import Server, build_server_app, build_strategy
    from fedvssl.sections import FederationConfig
    from fedvssl.state import FederatedState, RoundStore

    settings = FederationConfig(rounds=job['rounds'], clients_per_round=job['clients'], engine=job['engine'],
                                strategy=dict(type='FedVSSL'), workers=job['workers'], client_timeout=600.0)
    with tempfile.TemporaryDirectory() as work_dir:
        store = RoundStore(Path(work_dir)) if job.get('commits') else cast(RoundStore, NoStore())
        server = Server(settings, build_strategy(settings), Cohorts(7, NUM_CLIENTS, job['clients']),
                        FederatedState(0, initial()), store, clock, 1.0)
        engine(settings.engine)(build_server_app(server.run, lambda state: None), make_app, settings, NUM_CLIENTS)


def run_flower(job: dict[str, Any], clock: RoundClock) -> None:
    """Runs Flower's loop and strategy on Flower's simulation."""
    import flwr.app
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    server, clients, failures = ServerApp(), ClientApp(), list[int]()
    clients.train()(answer_as_flower_users_do)

    class CountingFedAvg(FedAvg):
        def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
            replies = list(replies)
            failures.append(job['clients'] - sum(not reply.has_error() for reply in replies))
            return super().aggregate_train(server_round, replies)

    @server.main()
    def serve(grid: Grid, context: Context) -> None:
        strategy = CountingFedAvg(fraction_train=job['clients'] / NUM_CLIENTS, fraction_evaluate=0.0,
                                  min_available_nodes=NUM_CLIENTS)
        arrays = ArrayRecord({name: flwr.app.Array(array) for name, array in initial().items()})
        strategy.start(grid, arrays, num_rounds=job['rounds'], evaluate_fn=look)

    def look(number: int, arrays: ArrayRecord) -> MetricRecord:
        if number:
            clock.after_round(number, {'failures': failures[-1]})
        return MetricRecord({'round': number})

    run_simulation(server, clients, NUM_CLIENTS, backend_config={
        'client_resources': {'num_cpus': 1.0, 'num_gpus': 0.0}, 'init_args': {'num_cpus': job['workers']}})


def initial() -> dict[str, Any]:
    """Returns what the first round sends."""
    import numpy as np

    random = np.random.default_rng(7)
    return {name: random.random(shape, np.float32) if shape else np.array(0) for name, shape in r3d18_shapes()}


def main() -> None:
    """Runs the contestant that the argument describes and writes its CPU seconds at the end of each round."""
    job, clock = json.loads(sys.argv[1]), RoundClock()
    (run_flower if job['engine'] == 'flower' else run_ours)(job, clock)
    Path(job['out']).write_text(json.dumps(clock.ends))


if __name__ == '__main__':
    from fedvssl.benchmarks import peer_run

    peer_run.main()  # under its own name, so that what goes to other processes can be found there
