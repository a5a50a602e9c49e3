"""Privacy on the client: Flower's mods around the training function, on what a client changed.

A mod of Flower's gets the weights before and after training. `OnUpdate` shows it their difference instead, as one
vector in double precision, which rids it of four faults: an update of zero divides by zero, a tensor without dimensions
counts in the norm but is not clipped, whole numbers raise, and norms are sums in single precision.

The mods wrap training alone. Flower also allows mods around the whole app; those would meet the questions of which
partition a node holds, and fail.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.clientapp.mod import LocalDpMod, adaptiveclipping_mod
from flwr.clientapp.typing import ClientAppCallable, Mod

from fedvssl import rng
from fedvssl.config import RunConfig
from fedvssl.federated.aggregation import Tensors
from fedvssl.federated.arrays import to_arrays, to_record
from fedvssl.federated.messages import ARRAYS, CONFIG, METRICS, ROUND, arrays_of, config_of, partition_of, scalar
from fedvssl.federated.noise import flower_noise, quiet_flower, require_noisable
from fedvssl.federated.privacy import multiplier_for
from fedvssl.sections import LocalDPConfig

# Flower's own names: the norm that a server wants updates clipped to, and in the reply whether one was.
CLIPPING_NORM, NORM_BIT = 'clipping_norm', 'norm_bit'

_UPDATE = 'update'
_TINY = 1e-150  # its square is not zero yet; added to a weight, it vanishes


def train_mods(config: RunConfig) -> list[Mod]:
    """Returns the mods of a run's training function, outermost first: the last to see a reply is what clips it."""
    settings = config.section('federation')
    mods: list[Mod] = [clip_when_asked]
    if settings.local_dp is not None:
        mods.append(LocalDP(settings.local_dp, config.seed))
    return mods


def clip_when_asked(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Clips the update if the server names a norm, and says in the reply whether there was anything to clip."""
    if CLIPPING_NORM not in config_of(message.content):
        return call_next(message, context)
    return OnUpdate(adaptiveclipping_mod)(message, context, call_next)


class LocalDP:
    """Clips the update and puts noise on it: the server, too, sees nothing else.

    Any two updates that a client might have sent differ by at most twice the clipping norm, so much is hidden.

    Args:
        settings: Norm, ε and δ of one update.
        seed: Seed of the run.
    """

    def __init__(self, settings: LocalDPConfig, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.std = 2 * settings.clipping_norm * multiplier_for(settings.epsilon, settings.delta)

    def __call__(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        """Trains, then clips and adds noise."""
        stream = None
        if self.settings.seeded_noise:
            number = int(scalar(config_of(message.content), ROUND))
            stream = rng.stream_seed(self.seed, 'local-noise', partition_of(context), number)
        return OnUpdate(self._mod(), lambda: flower_noise(stream))(message, context, call_next)

    def _mod(self) -> LocalDpMod:
        """Returns Flower's mod, with a sensitivity from which its formula makes our standard deviation.

        The formula, √(2 ln(1.25/δ)) / ε times the sensitivity, gives too little for large ε, too much for small ones.
        """
        settings = self.settings
        factor = float(np.sqrt(2 * np.log(1.25 / settings.delta))) / settings.epsilon
        return LocalDpMod(settings.clipping_norm, self.std / factor, settings.epsilon, settings.delta)


@dataclass(frozen=True)
class OnUpdate:
    """Applies a mod of Flower's to what training changed.

    Attributes:
        mod: The mod.
        around: Makes what the mod is to work within.
    """

    mod: Mod
    around: Callable[[], AbstractContextManager[None]] = quiet_flower

    def __call__(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        """Trains, then applies the mod.

        Raises:
            ConfigError: If what travels cannot be noised, see `require_noisable`.
        """
        reply = call_next(message, context)
        if reply.has_error():
            return reply
        sent = to_arrays(arrays_of(message.content))
        require_noisable(sent)
        update = to_vector(to_arrays(arrays_of(reply.content)), sent)
        # A zero that broadcasts stands for the weights that the update starts from.
        question = _shown(message, {CONFIG: message.content[CONFIG]}, np.zeros(1))
        with self.around():
            answer = self.mod(question, context, lambda *_: _shown(message, {METRICS: reply.content[METRICS]}, update))
        if answer.has_error():
            raise RuntimeError(answer.error.reason)
        changed = from_vector(to_arrays(arrays_of(answer.content))[_UPDATE], sent)
        reply.content[ARRAYS] = to_record(changed)
        return reply


def _shown(message: Message, scalars: dict[str, Any], vector: np.ndarray) -> Message:
    return Message(RecordDict({**scalars, ARRAYS: to_record({_UPDATE: vector})}), reply_to=message)


def to_vector(tensors: Tensors, start: Tensors) -> np.ndarray:
    """Returns ``tensors - start`` as one vector in float64; never quite zero, by which Flower would divide."""
    vector = np.empty(sum(tensor.size for tensor in start.values()))
    begin = 0
    for name, tensor in start.items():
        np.subtract(np.ravel(tensors[name]), np.ravel(tensor), out=vector[begin:begin + tensor.size], dtype=np.float64)
        begin += tensor.size
    if not vector.any():
        vector[0] = _TINY
    return vector


def from_vector(vector: np.ndarray, start: Tensors) -> dict[str, np.ndarray]:
    """Returns ``start + vector`` as named tensors in the types of `start`."""
    tensors, begin = {}, 0
    for name, tensor in start.items():
        update = vector[begin:begin + tensor.size].reshape(tensor.shape)
        tensors[name] = np.asarray(tensor + update, dtype=tensor.dtype)
        begin += tensor.size
    return tensors
