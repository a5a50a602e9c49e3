"""The two apps that Flower's SuperLink and SuperNodes start where the data sit on different hosts.

They are told what to run by two flat dictionaries, since a config never travels, only its path and overrides:

    run config   config, cfg-options, work-dir, resume     the same for all; given by whoever starts the run
    node config  partition-id, work-dir, data-root,        of one SuperNode; given by whoever starts it
                 accept-options

Paths are relative to where SuperLink or SuperNode was started. A SuperNode starts a new process for each message, so
everything heavy is imported within the functions: a question is answered without torch.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedvssl.cli import parse_options
from fedvssl.config import RunConfig, check_types, load_config
from fedvssl.data.partitioners import num_own_lists
from fedvssl.errors import ConfigError, FedVSSLError, suggest
from fedvssl.federated.agreement import list_digests_of, require_same_config, terms, with_terms
from fedvssl.federated.engines.remote import RemoteGrid
from fedvssl.federated.messages import PARTITION, TYPED_ERROR, identify
from fedvssl.sections import DEPLOYMENT

CONFIG_FILE, OPTIONS, WORK_DIR, RESUME = 'config', 'cfg-options', 'work-dir', 'resume'
DATA_ROOT, ACCEPT_OPTIONS = 'data-root', 'accept-options'
NODE_KEYS = (PARTITION, 'num-partitions', WORK_DIR, DATA_ROOT, ACCEPT_OPTIONS)

FAILURE = 'fedvssl exit code {code}: {error}'  # how a failed run says which of our exit codes it has

Values = Mapping[str, Any]

server_app = ServerApp()
client_app = ClientApp()


@dataclass(frozen=True)
class Job:
    """What a process of a deployment is to work on.

    Attributes:
        config: The run, with the node's own place of the videos.
        work_dir: Where the run, or the node's heads, are kept.
        resume: Whether the run there is to be continued.
    """

    config: RunConfig
    work_dir: Path
    resume: bool

    @classmethod
    def of(cls, run_config: Values, node_config: Values | None = None) -> 'Job':
        """Reads the node's own copy of the config that a run config names.

        Args:
            run_config: Flower's, see `fedvssl.federated.deployment`.
            node_config: A SuperNode's; None on the server.

        Raises:
            ConfigError: If a key is unknown, missing or of the wrong type, or the config is wrong.
        """
        node = check_node_config(node_config or {})
        options = shlex.split(run_config.get(OPTIONS) or '')
        if options and not node.get(ACCEPT_OPTIONS, True):
            raise ConfigError(f'{OPTIONS}: this node trains by its own config alone ({ACCEPT_OPTIONS}=false), and the '
                              f'run overrides {", ".join(options)}')
        config = load_config(_text(run_config, CONFIG_FILE), parse_options(options))
        if DATA_ROOT in node:
            config = replace(config, data=replace(config.data, root=_text(node, DATA_ROOT)))
        federation = replace(config.section('federation'), engine=DEPLOYMENT)
        config = replace(config.federated(), federation=federation)
        check_types(config)
        work_dir = _text(node if WORK_DIR in node else run_config, WORK_DIR)
        return cls(config, Path(work_dir).resolve(), bool(run_config.get(RESUME)))


def check_node_config(node_config: Values) -> Values:
    """Returns a node config that has no key but ours.

    Raises:
        ConfigError: If it has; Flower would pass over a misspelt one.
    """
    for key in node_config:
        if key not in NODE_KEYS:
            raise ConfigError(f'--node-config: unknown key {key!r}{suggest(key, NODE_KEYS)}')
    accepts = node_config.get(ACCEPT_OPTIONS, True)
    if not isinstance(accepts, bool):  # "false" in quotes would count as yes
        raise ConfigError(f'--node-config: {ACCEPT_OPTIONS}: must be true or false, without quotes, not {accepts!r}')
    return node_config


def _text(values: Values, key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigError(f'{key}: must be a path, not {value!r}; give it in --run-config or --node-config, such as '
                          f'{key}="somewhere"')
    return value


@server_app.main()
def serve_run(grid: Grid, context: Context) -> None:
    """Runs a federation to its last round on the SuperNodes."""
    from fedvssl.federated.run import prepared, serve

    with _saying_exit_code():
        job = Job.of(context.run_config)
        with prepared(job.config, job.work_dir, job.resume) as (server, digests):
            agreed = terms(job.config, digests, num_own_lists(job.config.data) is not None)
            serve(job.config, server, _Agreeing(grid, server.settings.client_timeout, agreed))


class _Agreeing(RemoteGrid):
    """Tells the clients with every message what they must have in common with the server."""

    def __init__(self, grid: Grid, timeout: float, agreed: Mapping[str, str]) -> None:
        super().__init__(grid, timeout)
        self._agreed = agreed

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yields the replies as `RemoteGrid` does."""
        return super().send_and_receive(with_terms(messages, self._agreed), timeout=timeout)


@contextmanager
def _saying_exit_code() -> Iterator[None]:
    """Puts our exit code where `flwr list` shows it: Flower itself knows only that a run failed."""
    try:
        yield
    except FedVSSLError as error:
        raise RuntimeError(FAILURE.format(code=error.exit_code, error=error)) from None


@client_app.query()
def say_partition(message: Message, context: Context) -> Message:
    """Answers which partition this node holds."""
    check_node_config(context.node_config)
    return identify(message, context)


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Trains on this node's videos for one round."""
    return _answer(message, context)


@client_app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Measures the shared model on this node's held-out videos."""
    return _answer(message, context)


def _answer(message: Message, context: Context) -> Message:
    """Hands a message to the client app of this node's config; errors of ours keep their exit code on the way.

    A client that takes too long ends its process: while it is there, the node takes no other message.
    """
    from fedvssl.federated.client import build_client_app
    from fedvssl.federated.engines.deadline import Deadline

    try:
        job = Job.of(context.run_config, context.node_config)
        require_same_config(job.config, message, num_own_lists(job.config.data) is not None)
        app = build_client_app(job.config, job.work_dir, list_digests_of(message))
        return Deadline(job.config.section('federation').client_timeout)(message, context, app)
    except FedVSSLError as error:
        return Message(Error(TYPED_ERROR + error.exit_code, str(error)), reply_to=message)
