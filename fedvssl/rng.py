"""Named random streams: every random number of a run has a name, and nothing else decides its value.

The seed of a stream is ``blake2b(seed, purpose, client, round, epoch, index)``. A sample's augmentation therefore does
not depend on the number of loader workers, on the engine, on the order in which clients finish or on what was drawn
before, and no round repeats another round's draws.
"""

from hashlib import blake2b

import numpy as np

Name = int | str


def stream_seed(seed: int, purpose: str, *names: Name) -> int:
    """Returns the 64-bit seed of a named stream.

    Args:
        seed: The run's seed.
        purpose: What the numbers are for, e.g. ``'init'``, ``'cohort'``, ``'order'``, ``'sample'``, ``'device'``,
            ``'dropout'``.
        names: What tells this stream from its siblings, e.g. client, round, epoch, index (in this order).
    """
    key = '\x1f'.join([str(int(seed)), purpose, *(str(name) for name in names)])
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), 'little')


def generator(seed: int, purpose: str, *names: Name) -> np.random.Generator:
    """Returns a numpy generator on the named stream (arguments as for `stream_seed`)."""
    return of_stream(stream_seed(seed, purpose, *names))


def of_stream(stream: int) -> np.random.Generator:
    """Returns a numpy generator on the stream of a given seed, as `stream_seed` returns it."""
    return np.random.Generator(np.random.PCG64(stream))


def seed_torch(seed: int, purpose: str, *names: Name) -> None:
    """Seeds torch's global generator from the named stream, for what accepts no generator (dropout, initialisation)."""
    import torch

    torch.manual_seed(stream_seed(seed, purpose, *names))
