"""What server and clients say to each other: the names of records and of what is in them."""

from typing import cast

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from fedvssl.errors import ConfigError

# Records of a message.
ARRAYS, CONFIG, METRICS = 'arrays', 'config', 'metrics'

# Instructions (server to client). `head-round` says which of its heads a client is to load; in a reply, which it keeps.
ROUND, ATTEMPT, HEAD_ROUND = 'server-round', 'attempt', 'head-round'
NO_HEAD = -1
# What a strategy asks of its clients (see `fedvssl.federated.terms` and `starting_point`). Flower's own FedProx sends
# `proximal-mu`, too.
PROXIMAL_MU = 'proximal-mu'
DIVERGENCE_THRESHOLD, DIVERGENCE_OF = 'divergence-threshold', 'divergence-of'
MIX_SCALE, MIX_TARGET = 'mix-scale', 'mix-target'

# Code of an error reply whose reason is one of our own errors: this, plus the error's exit code.
TYPED_ERROR = 1000

# Results (client to server). Flower's own strategies weight by `num-examples`.
EXAMPLES, LOSS, PARTITION = 'num-examples', 'loss', 'partition-id'
# Unreadable videos met so far, and those among them whose process was late, or died.
BAD_VIDEOS, LOST_VIDEOS = 'bad-videos', 'lost-videos'

# Elapsed time of a client's training.
TRAIN_SECONDS = 'train-seconds'

# Samples of the round that a video reader delivered, followed by its name.
READ_BY = 'read-by-'


def arrays_of(content: RecordDict) -> ArrayRecord:
    """Returns the tensors of a message.

    Flower's own properties (``content.array_records`` and the like) leave a reference cycle behind, so that the tensors
    live on until Python collects garbage, which does not ask how large they are.
    """
    return cast(ArrayRecord, content[ARRAYS])


def config_of(content: RecordDict) -> ConfigRecord:
    """Returns the instructions of a message; see `arrays_of`."""
    return cast(ConfigRecord, content[CONFIG])


def metrics_of(content: RecordDict) -> MetricRecord:
    """Returns the results of a message; see `arrays_of`."""
    return cast(MetricRecord, content[METRICS])


def scalar(record: MetricRecord | ConfigRecord, name: str, default: int | None = None) -> int | float:
    """Returns a number of a record.

    Raises:
        KeyError: If the record has no such entry and there is no `default`.
        TypeError: If it is no number.
    """
    value = record[name] if default is None else record.get(name, default)
    if not isinstance(value, int | float):
        raise TypeError(f'{name} is {value!r}, not a number')
    return value


def partition_of(context: Context) -> int:
    """Returns the partition that a client holds.

    Raises:
        ConfigError: If the node was started without one.
    """
    partition = context.node_config.get(PARTITION)
    if partition is None:
        raise ConfigError(f'the node has no {PARTITION!r}; start it with --node-config "{PARTITION}=0"')
    return int(partition)


def identify(message: Message, context: Context) -> Message:
    """Answers a query: which partition this node holds."""
    return Message(RecordDict({METRICS: MetricRecord({PARTITION: partition_of(context)})}), reply_to=message)
