r"""A slow copy of parts of a model: the target of BYOL, MoCo's key encoder, DINO's teacher.

    θ_t ← m θ_t + (1 - m) θ,    m = m_end - (m_end - m0) (cos(π p) + 1) / 2,    p the run's progress in 0..1

With m_end = 1 that is BYOL's schedule, with m_end = m0 a constant. p is the run's, not a client's round's, so that
cutting a run into rounds changes nothing. Only parameters are averaged; batch norms of the copy gather statistics of
their own.

A copy is a client's own: it never travels, and waits on the client's disk from one of its rounds to the next. At the
client's first step it starts from the model that was received.
"""

import math
from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from fedvssl.errors import ConfigError
from fedvssl.models.image.base import pool


class SlowCopy(nn.ModuleDict):
    """Copies of parts of a model, which get no gradient.

    Args:
        parts: The parts by name, among them ``backbone`` and ``neck``.
        decay: m0, in [0, 1].
        final_decay: m_end, in [0, 1].

    Attributes:
        steps: How often it moved.

    Raises:
        ConfigError: If a decay is out of its range.
    """

    steps: Tensor

    def __init__(self, parts: Mapping[str, nn.Module], decay: float, final_decay: float) -> None:
        for name, value in (('ema_decay', decay), ('final_ema_decay', final_decay)):
            if not 0 <= value <= 1:
                raise ConfigError(f'model.{name}: what a slow copy keeps of itself at a step is in 0..1, not {value}')
        super().__init__({name: deepcopy(part).requires_grad_(False) for name, part in parts.items()})
        self.decays = decay, final_decay
        self.register_buffer('steps', torch.zeros((), dtype=torch.int64))

    def decay(self, progress: float) -> float:
        """Returns m at the run's progress in 0..1."""
        first, last = self.decays
        return last - (last - first) * (math.cos(math.pi * progress) + 1) / 2

    def copy_from(self, model: nn.Module) -> None:
        """Makes all copies, batch statistics included, equal to the model's parts."""
        for name, copy in self.items():
            copy.load_state_dict(getattr(model, name).state_dict())

    def begin(self, model: nn.Module) -> None:
        """Copies the model before the first step ever."""
        if self.steps == 0:
            self.copy_from(model)

    @torch.no_grad()
    def follow(self, model: nn.Module, progress: float) -> None:
        """Moves the copies' parameters towards the model's."""
        for name, copy in self.items():
            slow: list[Tensor] = list(copy.parameters())
            torch._foreach_lerp_(slow, list(getattr(model, name).parameters()), 1 - self.decay(progress))
        self.steps += 1

    def embed(self, x_NCHW: Tensor) -> Tensor:
        """Returns embeddings (N, D) of images by the copies of backbone and neck."""
        return self['neck'](pool(self['backbone'](x_NCHW)))
