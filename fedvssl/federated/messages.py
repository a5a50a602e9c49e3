"""What server and clients say to each other: record names, keys, and tensors in and out of Flower's records."""

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, MetricRecord

from fedvssl.errors import ConfigError

# Records of a message.
ARRAYS, CONFIG, METRICS = 'arrays', 'config', 'metrics'

# Instructions (server to client). `head-round` says which of its heads a client is to load; in a reply, which it keeps.
ROUND, ATTEMPT, HEAD_ROUND = 'server-round', 'attempt', 'head-round'
NO_HEAD = -1

# Code of an error reply whose reason is one of our own errors: this, plus the error's exit code.
TYPED_ERROR = 1000

# Results (client to server). Flower's own strategies weight by `num-examples`.
EXAMPLES, LOSS, PARTITION = 'num-examples', 'loss', 'partition-id'
# Unreadable videos met so far, and those among them whose process was late, or died.
BAD_VIDEOS, LOST_VIDEOS = 'bad-videos', 'lost-videos'

# Samples of the round that a video reader delivered, followed by its name.
READ_BY = 'read-by-'


def to_record(tensors: Mapping[str, np.ndarray]) -> ArrayRecord:
    """Packs named arrays, in their order."""
    return ArrayRecord(OrderedDict((name, Array(np.asarray(tensor))) for name, tensor in tensors.items()))


def to_arrays(record: ArrayRecord) -> dict[str, np.ndarray]:
    """Unpacks named arrays."""
    return {name: array.numpy() for name, array in record.items()}


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
