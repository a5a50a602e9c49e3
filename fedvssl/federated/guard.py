"""Checks every reply before a strategy may see it: one bad reply must neither poison the average nor end the run.

Flower's own strategies average NaN, accept shapes that merely broadcast, and die of a missing key.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord

from fedvssl.federated.arrays import payload_bytes, record_fault, to_arrays
from fedvssl.federated.cohort import Roster
from fedvssl.federated.engines.answer import CLIENT_LOST
from fedvssl.federated.messages import (
    ARRAYS,
    BAD_VIDEOS,
    EXAMPLES,
    LOSS,
    LOST_VIDEOS,
    METRICS,
    TYPED_ERROR,
    arrays_of,
    metrics_of,
    scalar,
)
from fedvssl.training.hooks import Hook

logger = logging.getLogger('fedvssl')

REASON_LENGTH = 500  # characters of what a client says of its failure
MOST_METRIC = 1e100  # a sum of such numbers is still finite
# What lines of the log say themselves.
RESERVED = frozenset({'event', 'time', 'round', 'step', 'client', 'attempt', 'failure', 'phase', 'bytes_down',
                      'bytes_up', 'clients', 'failures', 'seconds', 'epsilon', 'delta', 'clipped', 'clipping_norm',
                      'noise_std', 'monitor'})


class Failure(NamedTuple):
    """Why a client's reply does not count.

    Attributes:
        reason: In words.
        exit_code: That of the error of ours which the client reports, if it is one.
        lost: Whether the client was late, died or was not there: on another machine it might have delivered.
    """

    reason: str
    exit_code: int | None = None
    lost: bool = False


@dataclass
class Exchange:
    """What became of one attempt's messages.

    Attributes:
        round: Number of the round.
        attempt: Of that round, from 1.
        metrics: Metrics of the accepted replies, by partition.
        failures: Why the others do not count, by partition.
        bytes_up: Bytes of tensors that came back, by partition, whether accepted or not.
    """

    round: int
    attempt: int = 1
    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    bytes_up: dict[int, int] = field(default_factory=dict)

    @property
    def depends_on_time(self) -> bool:
        """Whether a client, or a video of one, was given up because it was late, died or was not there."""
        return any(failure.lost for failure in self.failures.values()) or any(
            metrics.get(LOST_VIDEOS) for metrics in self.metrics.values())


class Guard:
    """Passes good replies on, in the order of the messages, and records the rest.

    Args:
        expected: The tensors that were sent: names, shapes and types a reply must have; None where none are due.
        roster: Who is who.
        exchange: Filled while replies pass.
        hook: Told of each reply.
        sizes: Training videos by partition, as far as the server knows them; no client may claim more.
    """

    def __init__(self, expected: ArrayRecord | None, roster: Roster, exchange: Exchange, hook: Hook,
                 sizes: Mapping[int, int] | None = None) -> None:
        self.expected, self.roster, self.exchange, self.hook = expected, roster, exchange, hook
        self.sizes = sizes or {}

    def __call__(self, replies: Iterable[Message]) -> Iterator[Message]:
        """Yields the replies that pass."""
        for reply in replies:
            partition = self.roster.partition_of.get(reply.metadata.src_node_id)
            if partition is None or partition in self.exchange.metrics:
                logger.warning('round %d: a reply from node %d was not asked for', self.exchange.round,
                               reply.metadata.src_node_id)
            elif (reason := self._fault(reply, partition)) is None:
                self._accept(reply, partition)
                yield reply
            else:
                lost = reply.has_error() and reply.error.code == CLIENT_LOST
                self.refuse(partition, Failure(_one_line(reason), _exit_code(reply), lost))

    def refuse(self, partition: int, failure: Failure) -> None:
        """Records why a client does not count."""
        exchange = self.exchange
        logger.warning('round %d: no result from client %d: %s', exchange.round, partition, failure.reason)
        exchange.failures[partition] = failure
        self.hook.after_step(exchange.round, dict(client=partition, attempt=exchange.attempt, failure=failure.reason))

    def _accept(self, reply: Message, partition: int) -> None:
        record, exchange = metrics_of(reply.content), self.exchange
        metrics = {name: float(scalar(record, name)) for name in record}
        exchange.metrics[partition] = metrics
        sent = 0 if self.expected is None else payload_bytes(self.expected)  # as much as came back, or it would not do
        told = dict(client=partition, attempt=exchange.attempt, bytes_down=sent, bytes_up=sent, **metrics)
        if self.expected is not None:
            self.hook.after_reply(exchange.round, told, partial(to_arrays, self.expected),
                                  partial(to_arrays, arrays_of(reply.content)))
        self.hook.after_step(exchange.round, told)

    def _fault(self, reply: Message, partition: int) -> str | None:
        """Returns why a reply must not count, or None."""
        if reply.has_error():
            return reply.error.reason or f'error {reply.error.code}'
        if METRICS not in reply.content or not isinstance(reply.content[METRICS], MetricRecord):
            return f'the reply has no record {METRICS!r}'
        if self.expected is None:
            return metrics_fault(reply.content[METRICS], trains=False)
        return metrics_fault(reply.content[METRICS], True, self.sizes.get(partition)) or self._arrays_fault(
            reply, partition)

    def _arrays_fault(self, reply: Message, partition: int) -> str | None:
        if ARRAYS not in reply.content or not isinstance(reply.content[ARRAYS], ArrayRecord):
            return f'the reply has no record {ARRAYS!r}'
        found = arrays_of(reply.content)
        assert self.expected is not None
        fault = record_fault(self.expected, found)
        if fault:
            return fault
        self.exchange.bytes_up[partition] = payload_bytes(found)
        try:
            return finiteness_fault(to_arrays(found))
        except Exception as error:  # whatever a client may send must not end the run
            return f'arrays cannot be read ({type(error).__name__}: {error})'


def _one_line(reason: str) -> str:
    """Returns what a client says as something that can neither forge lines of a log nor fill it."""
    shown = ''.join(character if character.isprintable() else ' ' for character in reason)
    return shown if len(shown) <= REASON_LENGTH else f'{shown[:REASON_LENGTH]}...'


def _exit_code(reply: Message) -> int | None:
    return reply.error.code - TYPED_ERROR if reply.has_error() and reply.error.code > TYPED_ERROR else None


def metrics_fault(metrics: Mapping[str, object], trains: bool, most_examples: int | None = None) -> str | None:
    """Returns what is wrong with a reply's scalars, or None.

    Args:
        metrics: The scalars.
        trains: Whether the reply answers a training message and must carry a loss.
        most_examples: Videos that the client has, if that is known.
    """
    examples = metrics.get(EXAMPLES)
    if not isinstance(examples, int) or examples < 1:
        return f'{EXAMPLES} must be a positive integer, not {examples!r}'
    if most_examples is not None and examples > most_examples:
        return f'{EXAMPLES} is {examples}, but the client has {most_examples} videos'
    if trains and LOSS not in metrics:
        return f'the reply has no {LOSS!r}'
    for name, value in metrics.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            return f'{name} is {value!r}, not a finite number'
        if abs(value) > MOST_METRIC:
            return f'{name} is {value!r}, beyond {MOST_METRIC:g}'
        if name in RESERVED:
            return f'a metric may not be called {name!r}'
    bad, lost = metrics.get(BAD_VIDEOS, 0), metrics.get(LOST_VIDEOS, 0)
    if not (isinstance(bad, int) and isinstance(lost, int) and 0 <= lost <= bad <= examples):
        return f'{BAD_VIDEOS} and {LOST_VIDEOS} are {bad!r} and {lost!r} of {examples} videos'
    return None


def finiteness_fault(tensors: Mapping[str, np.ndarray]) -> str | None:
    """Returns the first tensor with a NaN or an infinity, or None."""
    for name, tensor in tensors.items():
        if np.issubdtype(tensor.dtype, np.floating) and not np.isfinite(tensor).all():
            return f'tensor {name} is not finite'
    return None
