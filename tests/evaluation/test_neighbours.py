"""Nearest neighbours against brute force: every piece size, ties, and what has no direction."""

import numpy as np
import pytest
import torch

from fedvssl.errors import ConfigError
from fedvssl.evaluation import neighbours as module
from fedvssl.evaluation.neighbours import nearest

GENERATOR = np.random.default_rng(5)


def brute_force(queries, gallery, k):
    """Returns cosines and places in float64; equal ones by their place."""
    def normalised(x):
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        return np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)

    cosines = normalised(queries.astype(np.float64)) @ normalised(gallery.astype(np.float64)).T
    places = np.stack([np.lexsort((np.arange(len(gallery)), -row)) for row in cosines])[:, :k]
    return np.take_along_axis(cosines, places, axis=1), places


def equal(queries, gallery, k, **chunks):
    similarities, places = brute_force(queries, gallery, k)
    found = nearest(torch.from_numpy(queries), torch.from_numpy(gallery), k, **chunks)
    assert found.similarities.dtype == torch.float32 and found.indices.dtype == torch.int64
    assert np.array_equal(found.indices.numpy(), places)
    assert np.abs(found.similarities.numpy() - similarities).max() < 1e-6


@pytest.mark.parametrize('k', [1, 7, 61])
@pytest.mark.parametrize(('gallery_chunk', 'query_chunk'), [(1, 1), (7, 5), (8, 9), (60, 22), (61, 23), (1000, 1000)])
def test_any_pieces_give_what_brute_force_does(k, gallery_chunk, query_chunk):
    queries, gallery = (GENERATOR.normal(size=(n, 12)).astype(np.float32) for n in (23, 61))
    equal(queries, gallery, k, gallery_chunk=gallery_chunk, query_chunk=query_chunk)


@pytest.mark.parametrize('gallery_chunk', [1, 3, 4, 5, 64])
def test_ties_go_to_the_earlier_one(gallery_chunk):
    """Axes and their opposites: all cosines are -1, 0 or 1, exactly, and most of them equal."""
    axes = np.concatenate([np.eye(4), -np.eye(4)]).astype(np.float32)
    gallery = axes[GENERATOR.integers(8, size=64)] * 2.0 ** GENERATOR.integers(-3, 4, size=(64, 1)).astype(np.float32)
    equal(axes, gallery, 64, gallery_chunk=gallery_chunk, query_chunk=3)
    equal(axes, gallery, 10, gallery_chunk=gallery_chunk, query_chunk=3)


def test_a_vector_of_zeros_is_like_none():
    gallery = torch.tensor([[0.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    found = nearest(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), gallery, 3)
    assert found.indices.tolist() == [[2, 0, 1], [0, 1, 2]]
    assert found.similarities.tolist() == [[1, 0, -1], [0, 0, 0]]


def test_keys_are_in_the_order_of_the_numbers_and_lose_nothing():
    cosines = torch.tensor([[-1.0, -0.5, -1e-40, 0.0, -0.0, 1e-40, 0.25, 1.0]])
    keys = module._keys(cosines, 2**31)
    assert keys[0].argsort(descending=True).tolist() == [7, 6, 5, 3, 4, 2, 1, 0]  # -0 is 0, and after it
    back = module._from_keys(keys)
    assert back.similarities.equal(cosines) and back.indices[0].tolist() == list(range(2**31, 2**31 + 8))


@pytest.mark.parametrize('k', [0, 4])
def test_a_k_that_the_gallery_cannot_give(k):
    with pytest.raises(ConfigError, match=f'k = {k}: must be between 1 and the size of the gallery, 3'):
        nearest(torch.ones(2, 5), torch.ones(3, 5), k)
