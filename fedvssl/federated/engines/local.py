"""The local engine: a Flower grid on one machine, without Ray, sockets or daemons.

`LocalGrid` calls the client app in the same process; `WorkerGrid` (in ``workers.py``) runs it in persistent processes.
Both yield replies one by one in the order of the messages, so that aggregation streams, and give the same bits.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import cached_property
from typing import NoReturn

from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedvssl.config import FederationConfig
from fedvssl.federated.arrays import copied
from fedvssl.federated.engines import AppFactory
from fedvssl.federated.engines.answer import FIRST_NODE, RUN_ID, Contexts, answer

logger = logging.getLogger('fedvssl')


def run(server_app: ServerApp, make_app: AppFactory, settings: FederationConfig, num_clients: int) -> None:
    """Runs a server app on `settings.workers` processes, or on none."""
    with closing(_build_grid(make_app, settings, num_clients)) as grid:
        server_app(grid, Context(run_id=RUN_ID, node_id=1, node_config={}, state=RecordDict(), run_config={}))


def _build_grid(make_app: AppFactory, settings: FederationConfig, num_clients: int) -> 'LocalGrid':
    from fedvssl.federated.engines.workers import WorkerGrid

    if settings.workers == 0:
        logger.warning('workers=0: clients run in this process; one that dies or hangs takes the run with it')
        return LocalGrid(make_app, num_clients)
    return WorkerGrid(make_app, num_clients, settings.workers, settings.client_timeout)


class LocalGrid(Grid):
    """All clients in this process, one after the other: for tests and debugging.

    A client that raises costs one update; one that dies or hangs takes the run with it.

    Args:
        make_app: Builds the client app.
        num_clients: Clients there are; partition k is node k + 2.
    """

    def __init__(self, make_app: AppFactory, num_clients: int) -> None:
        _identify_server()
        self.make_app = make_app
        self.num_clients = num_clients
        self._sent = 0

    @cached_property
    def _app(self) -> ClientApp:
        return self.make_app()

    @cached_property
    def _contexts(self) -> Contexts:
        return Contexts(self.num_clients)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yields the reply to each message, in order.

        Args:
            messages: Messages to clients.
            timeout: Not enforced here: nothing in the same process can stop a client.
        """
        for message in messages:
            yield _kept(answer(self._app, self._stamped(message), self._contexts))

    def _stamped(self, message: Message) -> Message:
        """Gives a message the id that a SuperLink would give it."""
        self._sent += 1
        message.metadata.__dict__['_message_id'] = str(self._sent)
        return message

    def get_node_ids(self) -> list[int]:
        """Returns the node ids of all clients."""
        return list(range(FIRST_NODE, FIRST_NODE + self.num_clients))

    def close(self) -> None:
        """Ends what the engine started."""

    def set_run(self, run: object) -> None:
        """Does nothing: there is one run."""

    @property
    def run(self) -> NoReturn:
        """Flower's run record, which a local engine does not have."""
        raise NotImplementedError('the local engine has no Flower run record')

    def create_message(self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str,
                       ttl: float | None = None) -> Message:
        """Creates a message (Flower's older way of writing ``Message(...)``)."""
        return Message(content, dst_node_id=dst_node_id, message_type=message_type, group_id=group_id, ttl=ttl)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Not offered: this engine answers within `send_and_receive`."""
        raise NotImplementedError('the local engine answers within send_and_receive')

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Not offered: this engine answers within `send_and_receive`."""
        raise NotImplementedError('the local engine answers within send_and_receive')


def _kept(reply: Message) -> Message:
    """Returns a reply with tensors of its own: a client may send its model's, which the next client overwrites."""
    if not reply.has_error():
        reply.content = RecordDict({name: copied(record) if isinstance(record, ArrayRecord) else record
                                    for name, record in reply.content.items()})
    return reply


def _identify_server() -> None:
    """Tells Flower who sends: without it, newer versions refuse to make a message outside their own runtime."""
    try:
        from flwr.supercore.task_identity import TaskIdentity
    except ImportError:  # Flower before about 1.38 asks for nothing
        return
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, RUN_ID, 1
