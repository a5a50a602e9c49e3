r"""What each client's update looks like: its norm, and its angle to the mean update of the round.

    u_k = θ_k - θ_{r-1},    ū = Σ_k n_k u_k / Σ_k n_k,    cos_k = ⟨u_k, ū⟩ / (‖u_k‖ ‖ū‖)

Replies arrive one by one and are not kept, but ū is known only after the last. So of each update a sketch is kept,
W = 8191 numbers (64 kB): coordinate i of the update is added, with a random sign s_i, to number i mod W,

    (S u)_w = Σ_{i ≡ w} s_i u_i,    E ⟨S u, S v⟩ = ⟨u, v⟩,    sd ≈ sqrt((‖u‖² ‖v‖² + ⟨u, v⟩²) / W) ≤ 0.016 ‖u‖ ‖v‖

from which the inner products of two updates are estimated, while the norms are exact. W is prime, so that no stride of
the tensors' layout falls together with it. For the cosine of a client to the mean of K, whose own part is exact, that
is an error of about 0.01 and at most 0.03 (tested).

Norm and cosine leave out the running statistics of batch norms: nothing optimises them, and they would decide both (on
the demo they are 96 to 99.95 % of what changes from round to round, squared). The norm that a strategy's ``clip_norm``
is compared with does not leave them out, and is told beside.

Source: Charikar, Chen & Farach-Colton, "Finding Frequent Items in Data Streams", ICALP 2002 (count sketch; its hash of
the coordinates is replaced by their remainder).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedvssl import rng
from fedvssl.config import RunConfig
from fedvssl.federated.aggregation import Tensors, is_float, update_norm
from fedvssl.federated.batch_norms import BatchNorms
from fedvssl.federated.messages import EXAMPLES, LOSS
from fedvssl.registry import MONITORS
from fedvssl.training.hooks import Arrays, Metrics
from fedvssl.training.monitoring import Monitor

WIDTH = 8191
BLOCK = 1 << 18  # coordinates at a time; their random signs and differences stay in a core's cache


@MONITORS.register_module()
class UpdateMonitor(Monitor):
    """Loss, norm of the update and its cosine to the mean update, client by client; nothing where there are no clients.

    In a run with privacy noise of the server's, these figures are of single clients and not covered by its ε; they are
    in the server's log, like the clients' losses.

    Args:
        every: Rounds from one measurement to the next.
    """

    def __init__(self, every: int = 10) -> None:
        super().__init__(every)
        self._seed = 0
        self._updates: dict[int, _Update] = {}
        self._attempt = 0

    def prepare(self, config: RunConfig, work_dir: Path) -> None:
        """Takes the run's seed."""
        self._seed = config.seed

    def before_round(self, number: int, steps: int) -> None:
        """Forgets the last round."""
        self._updates = {}

    def after_reply(self, number: int, metrics: Metrics, sent: Arrays, received: Arrays) -> None:
        """Keeps what is needed of an update; an earlier attempt's updates do not count."""
        if not self.due(number):
            return
        if metrics['attempt'] != self._attempt:
            self._attempt, self._updates = metrics['attempt'], {}
        new, old = received(), sent()
        signs = rng.generator(self._seed, 'sketch')
        self._updates[metrics['client']] = _Update(metrics[LOSS], metrics[EXAMPLES], update_norm(new, old),
                                                   *sketched(new, old, signs))

    def measure(self, number: int, metrics: Metrics) -> Metrics:
        """Returns ``client_losses``, ``update_norms``, ``update_cosines`` by client, the last two's means, and
        ``whole_update_norms``, running statistics included.
        """
        clients = sorted(self._updates)
        if not clients:
            return {}
        updates = [self._updates[client] for client in clients]
        norms, cosines = [math.sqrt(update.squared) for update in updates], _cosines(updates)
        found: dict[str, Any] = dict(
            client_losses=_by_client(clients, [update.loss for update in updates]),
            whole_update_norms=_by_client(clients, [update.whole_norm for update in updates]),
            update_norms=_by_client(clients, norms), update_norm=float(np.mean(norms)))
        if cosines is not None:
            found |= dict(update_cosines=_by_client(clients, cosines), update_cosine=float(np.mean(cosines)))
        self._updates = {}
        return found


@dataclass(frozen=True)
class _Update:
    """One client's: its loss and videos, the norm over everything, and sketch and squared norm of the parameters'."""

    loss: float
    examples: float
    whole_norm: float
    sketch: np.ndarray
    squared: float


def sketched(tensors: Tensors, previous: Tensors, signs: np.random.Generator,
             width: int = WIDTH) -> tuple[np.ndarray, float]:
    """Returns the sketch, float64 (width,), of an update of the parameters, and its squared norm.

    Args:
        tensors: The client's named tensors.
        previous: What they were before; the same names and shapes.
        signs: Where the signs come from; in the same state for updates that are to be compared.
        width: W.
    """
    sketch, squared, begin = np.zeros(width), 0.0, 0
    for difference in _differences(tensors, previous):
        squared += float(np.square(difference).sum())
        flips = np.unpackbits(np.frombuffer(signs.bytes(-(-difference.size // 8)), np.uint8), count=difference.size)
        np.negative(difference, out=difference, where=flips.view(bool))
        first = begin % width
        rows = np.zeros((-(-(first + difference.size) // width), width))
        rows.reshape(-1)[first:first + difference.size] = difference
        sketch += rows.sum(axis=0)
        begin += difference.size
    return sketch, squared


def _differences(tensors: Tensors, previous: Tensors) -> Iterator[np.ndarray]:
    """Yields the update of all parameters, block by block, in float64."""
    statistics = BatchNorms.guess(tensors).statistics
    for name, tensor in tensors.items():
        if is_float(tensor) and name not in statistics:
            new, old = np.ravel(tensor), np.ravel(previous[name])
            for begin in range(0, new.size, BLOCK):
                yield np.subtract(new[begin:begin + BLOCK], old[begin:begin + BLOCK], dtype=np.float64)


def _cosines(updates: list[_Update]) -> list[float] | None:
    """Returns the cosine of each update to their mean, weighted by videos; None where one of them or it is zero."""
    sketches_KW = np.stack([update.sketch for update in updates])
    gram_KK = sketches_KW @ sketches_KW.T
    np.fill_diagonal(gram_KK, [update.squared for update in updates])
    weights_K = np.array([update.examples for update in updates])
    to_mean_K = gram_KK @ (weights_K / weights_K.sum())
    squared_mean = float(weights_K @ to_mean_K / weights_K.sum())
    if squared_mean <= 0 or not gram_KK.diagonal().all():
        return None
    cosines_K = to_mean_K / np.sqrt(gram_KK.diagonal() * squared_mean)
    return [float(cosine) for cosine in np.clip(cosines_K, -1, 1)]


def _by_client(clients: list[int], values: list[float]) -> dict[str, float]:
    """Returns values by client; JSON's objects have no integer keys."""
    return {str(client): value for client, value in zip(clients, values, strict=True)}
