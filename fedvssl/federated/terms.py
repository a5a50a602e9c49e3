"""What a strategy may ask of a client beside training: a proximal term in the loss (`FedProx`).

What it may ask before training stands in `fedvssl.federated.starting_point`.
"""

import math
from collections.abc import Collection

import torch
from flwr.app import ConfigRecord
from torch import Tensor, nn

from fedvssl.errors import ConfigError
from fedvssl.federated.messages import PROXIMAL_MU, scalar


class ProximalTerm:
    """μ/2 ‖w - w_global‖², to be called after each forward pass.

    Args:
        parameters: The tensors w, with the values w_global that they have now.
        mu: μ.
    """

    def __init__(self, parameters: Collection[nn.Parameter], mu: float) -> None:
        self.mu = mu
        self._pairs = [(parameter, parameter.detach().clone()) for parameter in parameters]

    def __call__(self) -> Tensor:
        """Returns the term, a scalar with gradients."""
        distances = [(parameter - anchor).square().sum() for parameter, anchor in self._pairs]
        return self.mu / 2 * torch.stack(distances).sum()


def proximal_term(instructions: ConfigRecord, model: nn.Module, shared: Collection[str]) -> ProximalTerm | None:
    """Returns the term that the server asks for, if any, over the shared tensors that are trained.

    Args:
        instructions: What the server says.
        model: The model, just loaded.
        shared: Names of what the server sent.

    Raises:
        ConfigError: If μ is no number of at least 0.
    """
    mu = not_negative(instructions, PROXIMAL_MU) if PROXIMAL_MU in instructions else 0.0
    trained = [parameter for name, parameter in model.named_parameters()
               if name in shared and parameter.requires_grad] if mu else []
    return ProximalTerm(trained, mu) if trained else None


def not_negative(instructions: ConfigRecord, name: str) -> float:
    """Returns a number that the server sent.

    Raises:
        ConfigError: If it is below 0, or no finite number.
    """
    value = float(scalar(instructions, name))
    if not 0 <= value < math.inf:
        raise ConfigError(f'the server sent {name}={value}; it must be a number of at least 0')
    return value
