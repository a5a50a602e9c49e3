"""Values that change smoothly along a clip: drawn at key frames, interpolated between them (CtP).

The first and the last frame are always keys. m inner keys, m drawn from given probabilities, sit at ⌊T i / (m + 1)⌋ for
i = 1..m, moved by a jitter in [-ρ, ρ - 1] with ρ = ⌊T / (m + 1) / 3⌋. Between two keys a value goes, for x from 0 to 1,

    linearly          v0 + (v1 - v0) x
    accelerating      v0 + (v1 - v0) x²
    decelerating      v1 - (v1 - v0) (1 - x)²

Everything is computed for all samples at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedvssl.data.draws import Draws
from fedvssl.errors import ConfigError

KIND_PROBABILITIES = (0.70, 0.15, 0.15)  # linear, accelerating, decelerating: CtP's "random" interpolation


@dataclass(frozen=True)
class KeyFrames:
    """Key frames of several clips.

    Attributes:
        index: Frame of each key, int64 (..., N), ascending from 0 to T - 1; unused keys repeat the last frame.
        frames: Frames of a clip, T.
    """

    index: Tensor
    frames: int

    @classmethod
    def draw(cls, frames: int, inner_probabilities: Sequence[float], draws: Draws, *shape: int) -> 'KeyFrames':
        """Draws key frames (B, *shape, N), N = len(inner_probabilities) + 1.

        Args:
            frames: Frames of a clip, T.
            inner_probabilities: Probabilities of 0, 1, 2, ... inner keys.
            draws: The samples' random numbers.
            shape: How many independent draws a sample needs.
        """
        slots = len(inner_probabilities) - 1
        inner = draws.choice(inner_probabilities, *shape)[..., None]
        number = torch.arange(1, slots + 1, device=draws.device)
        spacing = frames / (inner + 1)
        reach = (spacing / 3).floor()
        jitter = (draws.uniform(*shape, slots) * 2 * reach).floor() - reach
        place = ((spacing * number).floor() + jitter).long()
        last = torch.full_like(inner, frames - 1)
        keys = torch.cat([torch.zeros_like(inner), place.where(number <= inner, last), last], dim=-1)
        return cls(keys, frames)

    def spans(self) -> Tensor:
        """Returns the frames from each key to the next, int64 (..., N - 1)."""
        return self.index.diff(dim=-1)

    def interpolate(self, values: Tensor, kinds: Tensor | None = None) -> Tensor:
        """Returns the values at every frame, (..., T, *rest), from those at the keys, (..., N, *rest).

        Args:
            values: Values at the keys.
            kinds: Kind of each segment, int64 (..., N - 1): 0 linear, 1 accelerating, 2 decelerating; linear if None.
        """
        batch = self.index.shape[:-1]
        keys, rest = self.index.flatten(0, -2), values.shape[len(batch) + 1:]
        values_LNR = values.reshape(*keys.shape, -1)
        time = torch.arange(self.frames, device=keys.device)
        # Frame t lies in the segment whose keys are k_j < t <= k_{j + 1}: no frame in an empty one.
        segment = (keys[:, 1:-1, None] < time).sum(dim=1)
        begin, end = keys.gather(1, segment), keys.gather(1, segment + 1)
        x = (time - begin) / (end - begin).clamp(min=1)
        if kinds is not None:
            kind = kinds.reshape(len(keys), -1).gather(1, segment)
            x = torch.where(kind == 1, x ** 2, torch.where(kind == 2, 1 - (1 - x) ** 2, x))
        places = segment[..., None].expand(-1, -1, values_LNR.shape[-1])
        first, second = values_LNR.gather(1, places), values_LNR.gather(1, places + 1)
        return (first + (second - first) * x[..., None]).view(*batch, self.frames, *rest)


def require_probabilities(owner: str, **values: float | Sequence[float]) -> None:
    """Checks probabilities: a number is between 0 and 1, a sequence sums to 1.

    Raises:
        ConfigError: Naming the argument.
    """
    for name, value in values.items():
        parts = [value] if isinstance(value, int | float) else list(value)
        whole = isinstance(value, int | float) or abs(sum(parts) - 1) < 1e-6
        if not whole or not all(0 <= part <= 1 for part in parts):
            wanted = 'be between 0 and 1' if isinstance(value, int | float) else 'be probabilities that sum to 1'
            raise ConfigError(f'{owner}: {name} must {wanted}, not {value}')


def draw_kinds(draws: Draws, keys: KeyFrames) -> Tensor:
    """Returns a random kind for each segment, int64 (B, N - 1)."""
    return draws.choice(KIND_PROBABILITIES, keys.index.shape[-1] - 1)
