"""FedU: FedAvg whose clients keep their own predictor as long as they differ much from the global model.

    D_k = Σ_t ‖w_k,t - w_global,t‖² / T        over the T tensors t of the part that is compared (the backbone)
    client k starts from the global model if D_k < threshold, else from it with its own last predictor

w_k is what the client sent the last time it took part, which it keeps on its own disk; the first time it starts from
the global model. The predictor is everything else that travels. T counts all tensors, as the reference does; step
counters add nothing to the sum, while in the reference they decide it: two clients' differ by hundreds of steps.

Sources: Zhuang et al., "Collaborative Unsupervised Visual Representation Learning from Decentralized Data", ICCV 2021;
D and the threshold as in the code of Rehman et al., "Federated Self-supervised Learning for Video Understanding", ECCV
2022 (0.3). EasyFL's version takes the mean norm of the last local update's convolutions, and 0.4. The client's part is
in `fedvssl.federated.starting_point`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fedvssl.errors import ConfigError, suggest
from fedvssl.federated.messages import DIVERGENCE_OF, DIVERGENCE_THRESHOLD
from fedvssl.federated.strategies.arguments import NOT_NEGATIVE, require_in
from fedvssl.federated.strategies.fedavg import FedAvg
from fedvssl.registry import STRATEGIES


class DivergenceAware(FedAvg):
    """FedAvg whose clients compare a part of their last model with the global one.

    Args:
        divergence: First component of the names that are compared.
        exchange: What travels, see `FederatedStrategy`; empty: everything.
        **common: `uniform`, see `FedAvg`; `bn` and `clip_norm`, see `FederatedStrategy`.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    def __init__(self, divergence: str = 'backbone', exchange: Iterable[str] = (), **common: Any) -> None:
        super().__init__(exchange, **common)
        if not isinstance(divergence, str) or not divergence:
            raise ConfigError(f'federation.strategy.divergence: must be the name of a part of the model, '
                              f'not {divergence!r}')
        self.divergence = divergence

    def shared(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the tensors that travel.

        Raises:
            ConfigError: If there is nothing to compare.
        """
        shared = super().shared(tensors)
        parts = {name.split('.', 1)[0] for name in shared}
        if self.divergence not in parts:
            raise ConfigError(f'federation.strategy.divergence: {self.divergence!r} is not among the parts that '
                              f'travel{suggest(self.divergence, parts)}')
        return shared


@STRATEGIES.register_module()
class FedU(DivergenceAware):
    """The divergence-aware predictor.

    Args:
        threshold: Of D, 0 or more; 0 keeps every predictor at home.
        divergence: First component of the names that D compares; the rest of what travels is the predictor.
        exchange: What travels, see `FederatedStrategy`; empty: everything.
        **common: `uniform`, see `FedAvg`; `bn` and `clip_norm`, see `FederatedStrategy`.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    def __init__(self, threshold: float = 0.3, divergence: str = 'backbone', exchange: Iterable[str] = (),
                 **common: Any) -> None:
        super().__init__(divergence, exchange, **common)
        require_in(NOT_NEGATIVE, threshold=threshold)
        self.threshold = threshold

    def shared(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the tensors that travel.

        Raises:
            ConfigError: If there is nothing to compare, or no predictor.
        """
        shared = super().shared(tensors)
        if len({name.split('.', 1)[0] for name in shared}) == 1:
            raise ConfigError(f'federation.strategy.exchange: FedU needs a predictor that travels beside '
                              f'{self.divergence!r}; leave it empty or name one')
        return shared

    def instructions(self) -> dict[str, int | float | str | bool]:
        """Returns the threshold, and what D compares."""
        return {DIVERGENCE_THRESHOLD: float(self.threshold), DIVERGENCE_OF: self.divergence}
