"""An optimiser's state as named tensors: names, round trip, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from fedvssl.errors import CheckpointError, ConfigError
from fedvssl.training.optimizer_state import load_optimizer_tensors, optimizer_tensors

OPTIMIZERS = {
    'sgd': lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
    'adamw': lambda groups: torch.optim.AdamW(groups, lr=0.1),
    'plain': lambda groups: torch.optim.SGD(groups, lr=0.1),
    'amsgrad': lambda groups: torch.optim.Adam(groups, lr=0.1, amsgrad=True),
}


def parts(name):
    """Returns a model and an optimiser whose groups hold the parameters in another order than the model."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3).requires_grad_(False), nn.Linear(3, 1))
    return model, OPTIMIZERS[name]([dict(params=model[2].parameters()), dict(params=model[0].parameters(), lr=0.01)])


def step(model, optimizer, count=1):
    for _ in range(count):
        optimizer.zero_grad()
        model(torch.tensor([[1.0, -2.0]])).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_training_goes_on_to_the_bit(name):
    model, optimizer = parts(name)
    step(model, optimizer, 2)
    weights = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    saved = optimizer_tensors(model, optimizer)
    step(model, optimizer, 2)

    other, fresh = parts(name)
    step(other, fresh, 5)  # what it had before is forgotten
    other.load_state_dict(weights)
    load_optimizer_tensors(other, fresh, saved)
    step(other, fresh, 2)
    assert all(torch.equal(tensor, other.state_dict()[key]) for key, tensor in model.state_dict().items())
    assert [group['lr'] for group in fresh.param_groups] == [0.1, 0.01]


def test_names_are_the_parameters():
    model, optimizer = parts('adamw')
    assert optimizer_tensors(model, optimizer) == {}
    step(model, optimizer)
    tensors = optimizer_tensors(model, optimizer)
    assert set(tensors) == {f'{layer}.{kind}.{key}' for layer in (0, 2) for kind in ('weight', 'bias')
                            for key in ('step', 'exp_avg', 'exp_avg_sq')}
    assert tensors['0.weight.exp_avg'].shape == (3, 2) and tensors['2.bias.step'] == 1
    kept = tensors['2.bias.exp_avg'].copy()
    step(model, optimizer)
    assert np.array_equal(tensors['2.bias.exp_avg'], kept)  # a copy, not a view


def test_state_of_an_unknown_parameter_is_refused():
    model, optimizer = parts('sgd')
    with pytest.raises(CheckpointError, match="no parameter '1.weight', of which there is a saved 'momentum_buffer'"):
        load_optimizer_tensors(model, optimizer, {'1.weight.momentum_buffer': np.zeros((3, 3), np.float32)})


def test_an_optimiser_with_other_state_than_tensors_is_refused():
    model, optimizer = parts('sgd')
    step(model, optimizer)
    optimizer.state[model[0].weight]['history'] = [1, 2]
    with pytest.raises(ConfigError, match="a run with SGD cannot be resumed: 'history' .* of type list"):
        optimizer_tensors(model, optimizer)
