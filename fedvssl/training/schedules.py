"""Learning-rate factors as functions of the run's progress p in 0..1.

In a federated run p = (r - 1 + s / S) / R for round r of R and step s of a client's S, so that a client needs to know
nothing but the round. mmengine's schedulers count their own steps, which a client that trains every twentieth round
cannot.
"""

import math
from collections.abc import Sequence
from typing import Protocol

from fedvssl.errors import ConfigError
from fedvssl.registry import SCHEDULES


class Schedule(Protocol):
    """Anything that maps progress to a factor on the base learning rate."""

    def __call__(self, progress: float) -> float:
        """Returns the factor at `progress` in 0..1."""


@SCHEDULES.register_module()
class ConstantSchedule:
    """Factor 1 throughout: what the published federated runs effectively used."""

    def __call__(self, progress: float) -> float:
        """Returns 1."""
        return 1.0


@SCHEDULES.register_module()
class StepSchedule:
    """Multiplies by `gamma` at each milestone.

    Args:
        milestones: Values of progress, ascending, e.g. 60/150 and 120/150 for epochs 60 and 120 of 150.
        gamma: Factor at each of them.
    """

    def __init__(self, milestones: Sequence[float], gamma: float = 0.1) -> None:
        if list(milestones) != sorted(milestones) or not all(0 < milestone < 1 for milestone in milestones):
            raise ConfigError(f'StepSchedule: milestones must ascend between 0 and 1, not {list(milestones)}')
        self.milestones, self.gamma = list(milestones), gamma

    def __call__(self, progress: float) -> float:
        """Returns `gamma` to the power of the milestones passed."""
        # A step's progress is a rounded quotient: the tolerance keeps "at epoch 60" from becoming "a step later".
        return self.gamma ** sum(progress >= milestone - 1e-9 for milestone in self.milestones)


@SCHEDULES.register_module()
class CosineSchedule:
    """Half a cosine from 1 to `final`, after a linear warm-up.

    Args:
        warmup: Share of the run spent warming up.
        final: Factor at the end.
    """

    def __init__(self, warmup: float = 0.0, final: float = 0.0) -> None:
        if not 0 <= warmup < 1:
            raise ConfigError(f'CosineSchedule: warmup is a share in [0, 1), not {warmup}')
        self.warmup, self.final = warmup, final

    def __call__(self, progress: float) -> float:
        """Returns the factor at `progress`."""
        if progress < self.warmup:
            return progress / self.warmup
        wave = 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))
        return self.final + (1 - self.final) * wave
