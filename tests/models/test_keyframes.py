"""Key frames and what lies between them."""

import numpy as np
import pytest
import torch

from fedvssl.benchmarks.ctp_reference import interpolate_reference
from fedvssl.data.draws import Draws
from fedvssl.models.augments.keyframes import KeyFrames, draw_kinds


def keys_of(frames, probabilities, count=3000):
    return KeyFrames.draw(frames, probabilities, Draws(range(count)))


@pytest.mark.parametrize(('inner', 'expected'), [
    ((1.0,), {(0, 15)}),
    ((0, 1.0), {(0, key, 15) for key in (6, 7, 8, 9)}),
    ((0, 0, 1.0), {(0, first, second, 15) for first in (4, 5) for second in (9, 10)}),
])
def test_key_frames_of_16(inner, expected):
    """⌊16 / 2⌋ + [-2, 1]; ⌊16 / 3⌋ + [-1, 0] and ⌊32 / 3⌋ + [-1, 0]; each about equally often."""
    drawn = [tuple(keys) for keys in keys_of(16, inner).index.tolist()]
    assert set(drawn) == expected
    assert min(drawn.count(keys) for keys in expected) > 0.8 * len(drawn) / len(expected)


def test_fewer_keys_than_possible_repeat_the_last_frame():
    keys = keys_of(16, (0.5, 0.3, 0.2)).index
    inner = (keys[:, 1:3] < 15).sum(dim=1)
    assert (torch.bincount(inner) / len(keys)).tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.03)
    assert set(map(tuple, keys[inner == 0].tolist())) == {(0, 15, 15, 15)}
    assert set(map(tuple, keys[inner == 1].tolist())) == {(0, key, 15, 15) for key in (6, 7, 8, 9)}
    assert KeyFrames(keys, 16).spans().equal(keys.diff(dim=1)) and KeyFrames(keys, 16).spans().sum(dim=1).eq(15).all()


def test_several_draws_of_a_sample_are_independent_and_its_own():
    keys = KeyFrames.draw(16, (0.5, 0.3, 0.2), Draws(range(50)), 3, 2)
    assert keys.index.shape == (50, 3, 2, 4) and keys.index.flatten(1, 2).unique(dim=1).shape[1] > 1
    alone = KeyFrames.draw(16, (0.5, 0.3, 0.2), Draws([7]), 3, 2)
    assert alone.index[0].equal(keys.index[7])


def test_every_kind_of_interpolation():
    keys = KeyFrames(torch.tensor([[0, 4, 10]]).expand(3, -1), 11)
    values = torch.tensor([[1.0, 9.0, -3.0]]).double().expand(3, -1)
    kinds = torch.tensor([[0, 1], [1, 2], [2, 0]])
    t = torch.arange(11).double()
    x, y = (t / 4)[:5], ((t - 4) / 6)[5:]
    expected = [[1 + 8 * x, 9 - 12 * y ** 2], [1 + 8 * x ** 2, -3 + 12 * (1 - y) ** 2],
                [9 - 8 * (1 - x) ** 2, 9 - 12 * y]]
    assert keys.interpolate(values, kinds).allclose(torch.stack([torch.cat(pair) for pair in expected]))
    linear = keys.interpolate(values)
    assert linear.equal(keys.interpolate(values, torch.zeros_like(kinds)))


def test_interpolation_is_the_references():
    draws = Draws(range(300))
    keys = KeyFrames.draw(16, (0.5, 0.3, 0.2), draws)
    kinds, values = draw_kinds(draws, keys), draws.uniform(4, 3, 2)
    found = keys.interpolate(values, kinds)
    assert found.shape == (300, 16, 3, 2)
    for sample, places in enumerate(keys.index.tolist()):
        used = [slot for slot, place in enumerate(places) if slot == 0 or place > places[slot - 1]]
        expected = interpolate_reference([places[slot] for slot in used], list(values[sample, used].numpy()),
                                         [int(kinds[sample, slot - 1]) for slot in used[1:]])
        np.testing.assert_allclose(found[sample].numpy(), np.stack(expected), atol=1e-6)
    assert (torch.bincount(kinds.flatten()) / kinds.numel()).tolist() == pytest.approx([0.7, 0.15, 0.15], abs=0.04)


@pytest.mark.parametrize('frames', [1, 2, 3, 4, 5, 7])
def test_tiny_clips(frames):
    keys = keys_of(frames, (0.3, 0.3, 0.4), 400)
    index = keys.index
    assert index.min() == 0 and index.max() == frames - 1 and index.diff(dim=1).min() >= 0
    assert index[:, 0].eq(0).all() and index[:, -1].eq(frames - 1).all()
    values = Draws(range(400)).uniform(4)
    found = keys.interpolate(values, draw_kinds(Draws(range(400), 1), keys))
    assert found.shape == (400, frames) and found.isfinite().all()
    assert found[:, 0].equal(values[:, 0])
    if frames > 1:
        last_used = (index < frames - 1).sum(dim=1, keepdim=True)
        assert found[:, -1].allclose(values.gather(1, last_used)[:, 0])
