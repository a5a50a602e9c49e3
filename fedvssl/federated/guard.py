"""Checks every reply before a strategy may see it: one bad reply must neither poison the average nor end the run.

Flower's own strategies average NaN, accept shapes that merely broadcast, and die of a missing key.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord

from fedvssl.federated.cohort import Roster
from fedvssl.federated.messages import ARRAYS, EXAMPLES, LOSS, METRICS, TYPED_ERROR, scalar, to_arrays
from fedvssl.training.hooks import Hook

logger = logging.getLogger('fedvssl')


class Failure(NamedTuple):
    """Why a client's reply does not count; `exit_code` is that of the error of ours it reports, if it is one."""

    reason: str
    exit_code: int | None = None


@dataclass
class Exchange:
    """What became of one round's messages.

    Attributes:
        asked: Clients the round wanted.
        metrics: Metrics of the accepted replies, by partition.
        failures: Why the others do not count, by partition.
    """

    asked: int
    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)


class Guard:
    """Passes good replies on, in the order of the messages, and records the rest.

    Args:
        expected: The tensors that were sent: names, shapes and types a reply must have; None where none are due.
        roster: Who is who.
        exchange: Filled while replies pass.
        hook: Told of each reply.
        number: Round, for the hook.
    """

    def __init__(self, expected: ArrayRecord | None, roster: Roster, exchange: Exchange, hook: Hook,
                 number: int) -> None:
        self.expected = to_arrays(expected) if expected is not None else None
        self.roster, self.exchange, self.hook, self.number = roster, exchange, hook, number

    def __call__(self, replies: Iterable[Message]) -> Iterator[Message]:
        """Yields the replies that pass."""
        for reply in replies:
            partition = self.roster.partition_of[reply.metadata.src_node_id]
            reason = self._fault(reply)
            if reason is None:
                record = reply.content.metric_records[METRICS]
                metrics = {name: float(scalar(record, name)) for name in record}
                self.exchange.metrics[partition] = metrics
                self.hook.after_step(self.number, dict(client=partition, **metrics))
                yield reply
            else:
                logger.warning('round %d: no result from client %d: %s', self.number, partition, reason)
                self.exchange.failures[partition] = Failure(reason, _exit_code(reply))
                self.hook.after_step(self.number, dict(client=partition, failure=reason))

    def _fault(self, reply: Message) -> str | None:
        """Returns why a reply must not count, or None."""
        if reply.has_error():
            return reply.error.reason or f'error {reply.error.code}'
        if METRICS not in reply.content or not isinstance(reply.content[METRICS], MetricRecord):
            return f'the reply has no record {METRICS!r}'
        return metrics_fault(reply.content[METRICS], self.expected is not None) or (
            self._arrays_fault(reply) if self.expected is not None else None)

    def _arrays_fault(self, reply: Message) -> str | None:
        if ARRAYS not in reply.content or not isinstance(reply.content[ARRAYS], ArrayRecord):
            return f'the reply has no record {ARRAYS!r}'
        try:
            found = to_arrays(reply.content.array_records[ARRAYS])
        except Exception as error:  # whatever a client may send must not end the run
            return f'arrays cannot be read ({type(error).__name__}: {error})'
        return tensors_fault(self.expected or {}, found)


def _exit_code(reply: Message) -> int | None:
    return reply.error.code - TYPED_ERROR if reply.has_error() and reply.error.code > TYPED_ERROR else None


def metrics_fault(metrics: Mapping[str, object], trains: bool) -> str | None:
    """Returns what is wrong with a reply's scalars, or None.

    Args:
        metrics: The scalars.
        trains: Whether the reply answers a training message and must carry a loss.
    """
    examples = metrics.get(EXAMPLES)
    if not isinstance(examples, int) or examples < 1:
        return f'{EXAMPLES} must be a positive integer, not {examples!r}'
    if trains and LOSS not in metrics:
        return f'the reply has no {LOSS!r}'
    for name, value in metrics.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            return f'{name} is {value!r}, not a finite number'
    return None


def tensors_fault(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> str | None:
    """Returns the first way in which `found` is not a finite version of `expected`, or None."""
    for name in expected:
        if name not in found:
            return f'tensor {name} is missing'
    for name, tensor in found.items():
        if name not in expected:
            return f'tensor {name} was not asked for'
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            return f'tensor {name} is {tensor.dtype} {tensor.shape}, not {wanted.dtype} {wanted.shape}'
        if np.issubdtype(tensor.dtype, np.floating) and not np.isfinite(tensor).all():
            return f'tensor {name} is not finite'
    return None
