"""What changes while a `Trainer` trains, so that a run can go on to the bit from where an epoch ended."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from fedvssl.errors import ConfigError
from fedvssl.training.optimizer_state import load_optimizer_tensors, optimizer_tensors
from fedvssl.training.trainer import Trainer


def snapshot(trainer: Trainer) -> dict[str, Any]:
    """Returns a copy of a trainer's state, named like the fields of `fedvssl.state.CentralState`.

    Returns:
        ``tensors`` (the whole model, by name), ``optimizer`` (see `optimizer_tensors`) and ``loss_scale``.

    Raises:
        ConfigError: If the optimiser keeps something else than tensors.
    """
    model = trainer.model
    return dict(tensors={name: tensor.detach().cpu().numpy().copy() for name, tensor in model.state_dict().items()},
                optimizer=optimizer_tensors(model, trainer.optim_wrapper.optimizer), loss_scale=trainer.loss_scale)


def load_snapshot(trainer: Trainer, tensors: Mapping[str, np.ndarray], optimizer: Mapping[str, np.ndarray],
                  loss_scale: Mapping[str, Any]) -> None:
    """Puts a trainer where a snapshot was taken (arguments: as `snapshot` returns them).

    Raises:
        CheckpointError: If the optimiser's state is of another model.
    """
    trainer.rearm({name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()})
    load_optimizer_tensors(trainer.model, trainer.optim_wrapper.optimizer, optimizer)
    trainer.loss_scale = dict(loss_scale)


def require_finite(epoch: int, *states: Mapping[str, np.ndarray]) -> None:
    """Checks what is to be committed: the last step may spoil weights after the last loss was computed.

    Raises:
        ConfigError: Naming the first tensor that is not finite.
    """
    for tensors in states:
        for name, tensor in tensors.items():
            if not np.isfinite(tensor).all():
                raise _diverged(f'{name} is not finite after epoch {epoch}')


def require_finite_loss(epoch: int, loss: float) -> None:
    """Checks an epoch's mean loss.

    Raises:
        ConfigError: If it is not finite.
    """
    if not math.isfinite(loss):
        raise _diverged(f'the loss of epoch {epoch} is {loss}')


def _diverged(reason: str) -> ConfigError:
    return ConfigError(f'training diverged: {reason}; lower the learning rate (optimizer.lr of optim_wrapper, or of '
                       f'training.optim_wrapper if there is one)')
