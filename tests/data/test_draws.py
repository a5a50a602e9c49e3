"""Random numbers of a batch: each sample's its own."""

import pytest
import torch

from fedvssl.data.draws import Draws

SEEDS = [11, 2 ** 63 - 1, 0, 12]


def everything(draws):
    """Draws of each kind, one after the other."""
    return [draws.uniform(2, 3), draws.between(-2, 5), draws.integers(9, 4), draws.choice((0.5, 0.3, 0.2), 5)]


def test_a_samples_numbers_do_not_depend_on_its_batch():
    together = everything(Draws(SEEDS))
    for place, seed in enumerate(SEEDS):
        for alone, all_of_them in zip(everything(Draws([seed])), together, strict=True):
            assert alone[0].equal(all_of_them[place])
    turned = everything(Draws(SEEDS[::-1]))
    assert all(values.equal(other.flip(0)) for values, other in zip(turned, together, strict=True))


def test_samples_purposes_and_successive_draws_differ():
    first, second = Draws(SEEDS, purpose=0), Draws(SEEDS, purpose=1)
    values = torch.stack([first.uniform(1000), first.uniform(1000), second.uniform(1000)]).flatten(0, 1)
    assert len(values.unique()) == 12 * 1000
    correlations = torch.corrcoef(values) - torch.eye(12)
    assert correlations.abs().max() < 0.15


def test_the_same_seeds_give_the_same_bits():
    assert all(a.equal(b) for a, b in zip(everything(Draws(SEEDS, 5)), everything(Draws(SEEDS, 5)), strict=True))


def test_shapes_and_types():
    uniform, between, integers, choice = everything(Draws(SEEDS))
    assert (uniform.shape, between.shape, integers.shape, choice.shape) == ((4, 2, 3), (4,), (4, 4), (4, 5))
    assert uniform.dtype == between.dtype == torch.float64 and integers.dtype == choice.dtype == torch.int64


def test_ranges():
    draws = Draws(range(4))
    uniform, between, integers = draws.uniform(5000), draws.between(-2, 5, 5000), draws.integers(3, 5000)
    for values, low, high in ((uniform, 0, 1), (between, -2, 5)):
        width = high - low
        assert low <= values.min() < low + 0.01 * width and high - 0.01 * width < values.max() < high
        assert float(values.mean()) == pytest.approx((low + high) / 2, abs=0.01 * width)
    assert (torch.bincount(integers.flatten()) / 20000).tolist() == pytest.approx([1 / 3] * 3, abs=0.015)


def test_choices_occur_with_their_probabilities():
    counts = torch.bincount(Draws(range(4)).choice((0.5, 0.0, 0.3, 0.2), 10000).flatten(), minlength=4)
    assert (counts / 40000).tolist() == pytest.approx([0.5, 0, 0.3, 0.2], abs=0.01) and counts[1] == 0
    assert Draws(range(4)).choice([1.0], 100).eq(0).all()


def test_choice_at_its_bounds(monkeypatch):
    draws, largest = Draws([0]), 1 - 2 ** -53
    monkeypatch.setattr(draws, 'uniform', lambda *shape: torch.tensor([[0, 0.5, 0.75, largest]], dtype=torch.float64))
    assert draws.choice((0.0, 0.5, 0.25, 0.25), 4).tolist() == [[1, 2, 3, 3]]  # an index of probability 0 never occurs
    # Ten times 0.1 makes less than 1 in binary; no draw may fall beyond the last index.
    assert draws.choice([0.1] * 10, 4).tolist() == [[0, 5, 7, 9]]


def test_choice_is_a_cut_through_the_same_uniform_numbers():
    uniform = Draws(SEEDS).uniform(100)
    expected = (uniform >= 0.5).long() + (uniform >= 0.8).long()
    assert Draws(SEEDS).choice((0.5, 0.3, 0.2), 100).equal(expected)
