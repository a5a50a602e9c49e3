"""The nearest neighbours of queries in a gallery, by cosine similarity; exact, in bounded memory.

Gallery and queries are taken in pieces, and of each piece only the best so far are kept: beside the features there is
never more than one piece of the gallery, one of the queries, and the similarities between them (about 200 MB with
vectors of 9,216 numbers). Equal similarities are ordered by the place in the gallery, so that the result is one.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fedvssl.errors import ConfigError

GALLERY_CHUNK = 2048
QUERY_CHUNK = 1024

_LOW = 0xFFFFFFFF
_WORST = -(1 << 63)  # below the key of any similarity


class Neighbours(NamedTuple):
    """The k nearest of each of Q queries, the nearest first.

    Attributes:
        similarities: float32 (Q, k), cosines; 0 where a vector is zero.
        indices: int64 (Q, k), places in the gallery.
    """

    similarities: Tensor
    indices: Tensor


def nearest(queries: Tensor, gallery: Tensor, k: int, gallery_chunk: int = GALLERY_CHUNK,
            query_chunk: int = QUERY_CHUNK) -> Neighbours:
    """Finds the nearest neighbours.

    Args:
        queries: Features (Q, d), finite.
        gallery: Features (G, d), finite.
        k: How many, at most G.
        gallery_chunk: Features of the gallery at a time.
        query_chunk: Queries at a time.

    Returns:
        On the CPU.

    Raises:
        ConfigError: If `k` is not between 1 and G.
    """
    if not 1 <= k <= len(gallery):
        raise ConfigError(f'k = {k}: must be between 1 and the size of the gallery, {len(gallery)}')
    best = torch.full((len(queries), k), _WORST, dtype=torch.int64)
    for start in range(0, len(gallery), gallery_chunk):
        piece = F.normalize(gallery[start:start + gallery_chunk], dim=1)
        for begin in range(0, len(queries), query_chunk):
            rows = slice(begin, begin + query_chunk)
            cosines = F.normalize(queries[rows], dim=1) @ piece.T
            keys = _keys(cosines, start)
            found = keys.topk(min(k, keys.shape[1]), dim=1).values.cpu()
            best[rows] = torch.cat([best[rows], found], dim=1).topk(k, dim=1).values
    return _from_keys(best)


def _keys(cosines: Tensor, start: int) -> Tensor:
    """Returns integers in the order of the similarities and, where these are equal, of the places from the last on.

    The high half is the float's bits: in ascending order for positive numbers, and for negative ones once all bits but
    the sign are flipped. The low half is the place, counted downwards. No two are equal, so that there is one largest.

    Args:
        cosines: float32 (Q, G).
        start: Place of the first column.
    """
    bits = (cosines + 0.0).view(torch.int32)  # the addition makes -0 a 0
    places = torch.arange(start, start + cosines.shape[1], device=cosines.device)
    return (_flip_negative(bits).to(torch.int64) << 32) | (_LOW - places)


def _from_keys(keys: Tensor) -> Neighbours:
    """Returns what `_keys` packed."""
    bits = _flip_negative((keys >> 32).to(torch.int32))
    return Neighbours(bits.view(torch.float32), _LOW - (keys & _LOW))


def _flip_negative(bits: Tensor) -> Tensor:
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
