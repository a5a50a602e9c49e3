"""How much a pretraining sees, so that arms are compared at the same cost.

The budget of pretraining is counted in epochs over the pooled videos. A federated arm states it itself; central
training and clients that train alone get as many epochs, unless their options say otherwise:

    epochs = rounds * clients_per_round * local_epochs * mean videos of a client / pooled videos

where the last two come to 1 / num_clients unless clients share videos, or leave some out, as lists may have it.
"""

from dataclasses import dataclass

from fedvssl.config import RunConfig
from fedvssl.data.dataset import read_videos
from fedvssl.data.partitioners import build_partitions


@dataclass(frozen=True)
class Budget:
    """How much an arm's pretraining sees.

    Attributes:
        arm: Name of the arm.
        fair: Epochs over the pooled videos that the federation of its config gets.
        epochs: Epochs over the pooled videos that it gets itself; for clients alone, each over its own videos.
        formula: How that comes about.
    """

    arm: str
    fair: float
    epochs: float
    formula: str

    def __str__(self) -> str:
        """Says it in words."""
        same = abs(self.fair - self.epochs) < 1e-9
        return (f'{self.arm}: {self.epochs:g} epochs ({self.formula})'
                + ('' if same else f', where the federation of its config has {self.fair:g}'))


def federated_budget(arm: str, config: RunConfig) -> tuple[Budget, int]:
    """Returns the budget of an arm's federation, and how many clients that has.

    Raises:
        ConfigError: If the config has no federation.
        DataListError: If its list is wrong or cannot be divided.
    """
    settings = config.section('federation')
    videos = read_videos(config.data, config.data.train.split)
    partition = build_partitions(config.data, videos, config.seed)
    clients, share = len(partition), sum(map(len, partition)) / len(videos)
    epochs = settings.rounds * settings.clients_per_round * settings.local_epochs * share / clients
    formula = (f'{settings.rounds} rounds x {settings.clients_per_round} of {clients} clients x '
               f'{settings.local_epochs} local epochs')
    if share != 1:
        formula += f' x {share:.3g}, since the clients have {sum(map(len, partition))} of {len(videos)} videos'
    return Budget(arm, epochs, epochs, formula), clients
