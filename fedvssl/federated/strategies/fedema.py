"""FedEMA: FedAvg whose clients start from a mixture of the global model and what they sent last.

    client k starts from μ w_k + (1 - μ) w_global,    μ = min(λ_k ‖w_global - w_k‖, 1)

w_k is what the client sent the last time it took part, which it keeps on its own disk; the first time it starts from
the global model. The norm is Euclidean, over the part that is compared (the backbone); mixed is everything that
travels. λ is the same for all clients (0.8 in the paper), or, by default, each client's own, set once when it takes
part for the second time, so that μ is `target` then: λ_k = target / ‖w_global - w_k‖.

The slow copies of BYOL and its kin stay with their clients, as in the paper.

Source: Zhuang, Wen and Zhang, "Divergence-aware Federated Self-Supervised Learning", ICLR 2022. EasyFL's code measures
the mean norm of the last local update's convolutions instead. The client's part is in
`fedvssl.federated.starting_point`.
"""

from collections.abc import Iterable
from typing import Any

from fedvssl.federated.messages import DIVERGENCE_OF, MIX_SCALE, MIX_TARGET
from fedvssl.federated.strategies.arguments import NOT_NEGATIVE, SHARE, require_in
from fedvssl.federated.strategies.fedu import DivergenceAware
from fedvssl.registry import STRATEGIES


@STRATEGIES.register_module()
class FedEMA(DivergenceAware):
    """Clients that keep a share of their own model.

    Args:
        scale: λ of all clients, 0 or more; None: each client's own.
        target: μ at a client's second time, in 0..1, where `scale` is None.
        divergence: First component of the names that the norm is over.
        exchange: What travels, see `FederatedStrategy`; empty: everything.
        **common: `uniform`, see `FedAvg`; `bn` and `clip_norm`, see `FederatedStrategy`.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    def __init__(self, scale: float | None = None, target: float = 0.7, divergence: str = 'backbone',
                 exchange: Iterable[str] = (), **common: Any) -> None:
        super().__init__(divergence, exchange, **common)
        require_in(SHARE, target=target)
        if scale is not None:
            require_in(NOT_NEGATIVE, scale=scale)
        self.scale, self.target = scale, target

    def instructions(self) -> dict[str, int | float | str | bool]:
        """Returns λ or its target, and what the norm is over."""
        asked = {MIX_TARGET: float(self.target)} if self.scale is None else {MIX_SCALE: float(self.scale)}
        return {**asked, DIVERGENCE_OF: self.divergence}
