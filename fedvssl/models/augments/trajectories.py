"""Trajectories of CtP's patches: where each of K boxes is in each of T frames.

1. Shape: an anchor, w = s √r and h = s / √r, uniform over scales s and ratios r; each side times exp U(-j, j), within
   1..side of the picture - 1; top-left corner uniform inside.
2. Centre: at key frames shared by the K boxes, moved by U(-v Δ, v Δ) px per axis, Δ frames since the last key, and kept
   where a box of its *first* size is inside.
3. Size: at key frames of its own, each side times exp U(-u Δ, u Δ).
4. Box: centre ± size / 2, clipped to the picture, rounded to whole pixels.

Scales and speed are given in pixels of the published 112x112 crop and shrink with the crop. Source: the code of Wang et
al., CVPR 2021. Ours never gives a box without pixels; at the published geometry theirs does not either (side >= 6).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedvssl.data.draws import Draws
from fedvssl.errors import ConfigError
from fedvssl.models.augments.keyframes import KeyFrames, draw_kinds, require_probabilities

PUBLISHED_CROP = 112  # px


@dataclass(frozen=True)
class Trajectories:
    """Distribution of trajectories (defaults: published).

    Attributes:
        num_patches: Boxes of a clip, K.
        scales: Anchor scales in px of a 112 px crop.
        ratios: Anchor aspect ratios, width to height.
        scale_jitter: j above.
        key_probabilities: Probabilities of 0, 1, 2, ... inner key frames.
        velocity: v above, px of a 112 px crop per frame.
        growth: u above, per frame.
    """

    num_patches: int = 3
    scales: Sequence[float] = (16, 24, 28, 32, 48, 64)
    ratios: Sequence[float] = (0.5, 0.67, 0.75, 1, 1.33, 1.5, 2)
    scale_jitter: float = 0.18
    key_probabilities: Sequence[float] = (0.5, 0.3, 0.2)
    velocity: float = 3.0
    growth: float = 0.025

    def __post_init__(self) -> None:
        owner = type(self).__name__
        require_probabilities(owner, key_probabilities=self.key_probabilities)
        for name in ('num_patches', 'scales', 'ratios', 'scale_jitter', 'velocity', 'growth'):
            value = getattr(self, name)
            if isinstance(value, int | float):
                good = value >= (1 if name == 'num_patches' else 0)
            else:
                good = len(value) > 0 and min(value) > 0
            if not good:
                raise ConfigError(f'{owner}: {name} cannot be {value}')

    def draw(self, frames: int, width: int, height: int, draws: Draws) -> Tensor:
        """Draws boxes int64 (B, K, T, 4) as x1, y1, x2, y2 in whole pixels, x1 < x2 <= width, y1 < y2 <= height."""
        picture = torch.tensor([width, height], dtype=torch.float64, device=draws.device)
        unit = min(width, height) / PUBLISHED_CROP
        sides = self._first_sides(picture, unit, draws)
        centre = sides / 2 + draws.uniform(self.num_patches, 2) * (picture - sides)
        centres = self._centres(centre, sides, picture, unit, frames, draws)
        sizes = self._sizes(sides, frames, draws)
        boxes = torch.cat([centres - sizes / 2, centres + sizes / 2], dim=-1).transpose(1, 2)
        limits = picture.repeat(2)
        boxes = torch.minimum(boxes.clamp(min=0), limits).round()
        low = torch.minimum(boxes[..., :2], picture - 1)
        return torch.cat([low, torch.maximum(boxes[..., 2:], low + 1)], dim=-1).long()

    def _first_sides(self, picture: Tensor, unit: float, draws: Draws) -> Tensor:
        """Returns width and height of each box in the first frame, (B, K, 2)."""
        scale = torch.tensor(self.scales, dtype=torch.float64, device=draws.device)[:, None] * unit
        root = torch.tensor(self.ratios, dtype=torch.float64, device=draws.device).sqrt()
        anchors = torch.stack([scale * root, scale / root], dim=-1).flatten(0, 1)
        sides = anchors[draws.integers(len(anchors), self.num_patches)]
        sides = sides * draws.between(-self.scale_jitter, self.scale_jitter, self.num_patches, 2).exp()
        return torch.minimum(sides.clamp(min=1), picture - 1)

    def _centres(self, centre: Tensor, sides: Tensor, picture: Tensor, unit: float, frames: int,
                 draws: Draws) -> Tensor:
        """Returns the centres at every frame, (B, T, K, 2), from those in the first, (B, K, 2)."""
        keys = KeyFrames.draw(frames, self.key_probabilities, draws)
        reach = self.velocity * unit * keys.spans()
        at_keys = [centre]
        for j in range(reach.shape[1]):
            moved = at_keys[-1] + reach[:, j, None, None] * draws.between(-1, 1, self.num_patches, 2)
            at_keys.append(torch.minimum(torch.maximum(moved, sides / 2), picture - sides / 2))
        return keys.interpolate(torch.stack(at_keys, dim=1), draw_kinds(draws, keys))

    def _sizes(self, sides: Tensor, frames: int, draws: Draws) -> Tensor:
        """Returns the sizes at every frame, (B, T, K, 2), from those in the first, (B, K, 2)."""
        keys = KeyFrames.draw(frames, self.key_probabilities, draws)
        reach = self.growth * keys.spans()[..., None, None]
        steps = reach * draws.between(-1, 1, reach.shape[1], self.num_patches, 2)
        steps = torch.cat([torch.zeros_like(steps[:, :1]), steps.cumsum(dim=1)], dim=1)
        return keys.interpolate(sides[:, None] * steps.exp(), draw_kinds(draws, keys))
