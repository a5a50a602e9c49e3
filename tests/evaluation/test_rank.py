"""Spread and rank of features, against hand calculations."""

import math

import pytest
import torch

from fedvssl.evaluation.rank import centred_rank, feature_std, rankme


def rotation(size):
    return torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]


def test_rankme_is_the_exponential_of_the_entropy_of_the_singular_values():
    # Shares 3/4 and 1/4: -(.75 ln .75 + .25 ln .25) = 0.5623, e^0.5623 = 1.7548.
    diagonal = torch.zeros(5, 4, dtype=torch.float64)
    diagonal[0, 0], diagonal[1, 1] = 3, 1
    assert rankme(rotation(5) @ diagonal @ rotation(4)) == pytest.approx(1.7548, abs=1e-4)
    assert rankme(7 * rotation(6)) == pytest.approx(6, abs=1e-4)  # all equal, whatever the scale
    assert rankme(torch.ones(9, 3)) == pytest.approx(1, abs=1e-4)
    assert rankme(torch.zeros(9, 3)) == 1


def test_features_on_a_line_have_a_centred_rank_of_1_wherever_the_line_is():
    along, place = torch.linspace(-1, 1, 20)[:, None], torch.tensor([[5.0, 0, 0, 2]])
    features = place + along * torch.tensor([[0.0, 1, 1, 0]])
    assert centred_rank(features) == pytest.approx(1, abs=1e-4)
    assert 1.1 < rankme(features) < 2
    assert centred_rank(torch.full((5, 3), 4.0)) == 1


def test_feature_std():
    # Unit vectors ±(1, 0): the standard deviations are 1 and 0, their mean 1/2. Lengths do not count.
    assert feature_std(torch.tensor([[2.0, 0], [-5.0, 0]])) == pytest.approx(0.5)
    assert feature_std(torch.tensor([[1.0, 1], [3.0, 3], [0.1, 0.1]])) == pytest.approx(0, abs=1e-7)
    sphere = torch.randn(20000, 16, generator=torch.Generator().manual_seed(2))
    assert feature_std(sphere) == pytest.approx(1 / math.sqrt(16), rel=0.01)
    assert feature_std(torch.zeros(4, 3)) == 0
