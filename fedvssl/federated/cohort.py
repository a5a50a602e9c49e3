"""Which clients train in a round, and where they are."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedvssl import rng
from fedvssl.errors import QuorumError
from fedvssl.federated.messages import METRICS, PARTITION, scalar

logger = logging.getLogger('fedvssl')


@dataclass(frozen=True)
class Cohorts:
    """Draws the clients of a round: a function of (seed, round, attempt) and the declared partitions alone.

    Flower draws from node ids, which are random in every run.

    Attributes:
        seed: Seed of the run.
        num_clients: Declared partitions 0..num_clients - 1, whether or not they can be reached.
        per_round: Clients of a round.
    """

    seed: int
    num_clients: int
    per_round: int

    def draw(self, round_number: int, attempt: int = 1) -> list[int]:
        """Returns the partitions of a round, drawn without replacement, ascending.

        Args:
            round_number: Round, from 1.
            attempt: 1, or more when the round is drawn again for want of a quorum.
        """
        random = rng.generator(self.seed, 'cohort', round_number, attempt)
        return sorted(int(p) for p in random.choice(self.num_clients, size=self.per_round, replace=False))


class Roster:
    """Which node holds which partition.

    Args:
        partitions: Partition by node id.
    """

    def __init__(self, partitions: dict[int, int]) -> None:
        self.partition_of = dict(partitions)
        self.node_of = {partition: node for node, partition in partitions.items()}

    @classmethod
    def discover(cls, grid: Grid, num_clients: int, timeout: float) -> 'Roster':
        """Asks every node for its partition.

        Raises:
            QuorumError: If two nodes hold the same partition, or a node holds one that was not declared.
        """
        nodes = sorted(grid.get_node_ids())
        questions = [Message(RecordDict(), dst_node_id=node, message_type=MessageType.QUERY) for node in nodes]
        return cls(_unique(grid.send_and_receive(questions, timeout=timeout), num_clients))


def _unique(replies: Iterable[Message], num_clients: int) -> dict[int, int]:
    partitions: dict[int, int] = {}
    for reply in replies:
        if reply.has_error():  # a failure like any other, met again when the node's partition is drawn
            logger.warning('node %d does not say which partition it holds: %s', reply.metadata.src_node_id,
                           reply.error.reason)
            continue
        node = reply.metadata.src_node_id
        partition = int(scalar(reply.content.metric_records[METRICS], PARTITION))
        if not 0 <= partition < num_clients:
            raise QuorumError(f'node {node} holds partition {partition}; the config declares 0..{num_clients - 1}')
        if partition in partitions.values():
            raise QuorumError(f'two nodes hold partition {partition}; give every SuperNode its own partition-id')
        partitions[node] = partition
    return partitions
