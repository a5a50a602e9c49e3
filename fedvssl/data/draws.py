"""Random numbers of a batch, each sample's from a stream of its own, so that a sample looks alike in any batch."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


class Draws:
    """Uniform numbers for B samples.

    Args:
        seeds: Seed of each sample (B,), as ``data_samples['seed']`` gives them.
        purpose: Tells the streams of two consumers apart, e.g. the augmentation's position.
        device: Where the numbers are wanted. They are drawn on the CPU, and are the same on every device.
    """

    def __init__(self, seeds: Iterable[int], purpose: int = 0, device: torch.device | str = 'cpu') -> None:
        self.generators = [np.random.Generator(np.random.PCG64([int(seed), purpose])) for seed in seeds]
        self.device = device

    def uniform(self, *shape: int) -> Tensor:
        """Returns float64 (B, *shape), uniform in [0, 1)."""
        values = np.stack([generator.random(shape) for generator in self.generators])
        return torch.from_numpy(values).to(self.device)

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        """Returns float64 (B, *shape), uniform in [low, high)."""
        return low + (high - low) * self.uniform(*shape)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Returns int64 (B, *shape), uniform in 0..high - 1."""
        return (self.uniform(*shape) * high).long()

    def choice(self, probabilities: Iterable[float], *shape: int) -> Tensor:
        """Returns int64 (B, *shape): indices that occur with the given probabilities, which sum to 1."""
        bounds = torch.tensor(list(probabilities), dtype=torch.float64, device=self.device).cumsum(0)[:-1]
        return torch.searchsorted(bounds, self.uniform(*shape), right=True)
