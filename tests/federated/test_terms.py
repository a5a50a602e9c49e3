"""What a strategy asks of a client: FedProx's term in the loss, FedU's choice of the predictor."""

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord
from torch import nn

from fedvssl.config import from_dict
from fedvssl.errors import ConfigError, QuorumError
from fedvssl.federated import client as client_module
from fedvssl.federated.run import federate
from fedvssl.federated.terms import ProximalTerm, proximal_term
from fedvssl.models import build_model
from fedvssl.training.hooks import Hook
from tests.conftest import tiny_values


def network():
    frozen = nn.Linear(2, 1).requires_grad_(False)
    return nn.ModuleDict(dict(backbone=nn.Linear(3, 2), head=nn.Linear(2, 1), frozen=frozen))


def test_the_proximal_terms_gradient_is_mu_times_the_distance():
    model = network().double()
    term = ProximalTerm(list(model.parameters()), mu=0.3)
    anchors = [parameter.detach().clone() for parameter in model.parameters()]
    assert term().item() == 0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.arange(parameter.numel()).view_as(parameter))
    value = term()
    assert value.item() == pytest.approx(0.15 * sum(((parameter - anchor) ** 2).sum().item() for parameter, anchor in
                                                    zip(model.parameters(), anchors, strict=True)))
    value.backward()
    for parameter, anchor in zip(model.parameters(), anchors, strict=True):
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, 0.3 * (parameter - anchor).detach())
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert torch.autograd.gradcheck(lambda *_: term(), trained)


def test_it_covers_what_is_shared_and_trained():
    model = network()
    names = ['backbone.weight', 'frozen.weight', 'backbone.running_mean']
    term = proximal_term(ConfigRecord({'proximal-mu': 2.0}), model, names)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert term().item() == 6  # 2 / 2 * the 6 numbers of backbone.weight
    assert proximal_term(ConfigRecord({'proximal-mu': 0.0}), model, names) is None
    assert proximal_term(ConfigRecord({}), model, names) is None
    with pytest.raises(ConfigError, match='proximal-mu=-1'):
        proximal_term(ConfigRecord({'proximal-mu': -1.0}), model, names)


def test_a_penalty_is_optimised_but_is_not_the_loss(tiny_videos):
    values = tiny_values(tiny_videos)
    model = build_model(values['model'], 7)
    losses = dict(loss=torch.tensor(2.0), accuracy=torch.tensor(0.5))
    assert float(model.parse_losses(losses)[0]) == 2
    model.penalty = lambda: torch.tensor(3.0)
    optimised, logged = model.parse_losses(losses)
    assert float(optimised) == 5 and float(logged['loss']) == 2 and float(logged['penalty']) == 3


def test_a_client_that_fails_leaves_no_penalty_to_the_next(tiny_config, tmp_path, monkeypatch):
    config = tiny_config(rounds=1, max_attempts=1, workers=0, strategy=dict(type='FedProx', mu=0.5))
    seen = []

    def fail(self, *arguments):
        seen.append((self, self.trainer.model.penalty))
        raise RuntimeError('no power')

    monkeypatch.setattr(client_module.Client, '_fit', fail)
    with pytest.raises(QuorumError, match='no power'):
        federate(config, tmp_path, hook=Hook())
    client, penalty = seen[-1]
    assert isinstance(penalty, ProximalTerm) and client.trainer.model.penalty is None


def first_replies(config, work_dir, monkeypatch):
    """Returns what the clients of round 1 receive and send, and their metrics."""
    seen, original = [], client_module.Client.train

    def spy(self, message, context):
        reply = original(self, message, context)
        sent, received = (({name: array.numpy() for name, array in content['arrays'].items()})
                          for content in (message.content, reply.content))
        seen.append((sent, received, dict(reply.content['metrics'])))
        return reply

    with monkeypatch.context() as patch:
        patch.setattr(client_module.Client, 'train', spy)
        federate(config, work_dir, hook=Hook())
    return seen


def moved(sent, received):
    """Returns the distance between trained tensors: those that are no running statistics."""
    return sum(float(((received[name] - sent[name]).astype(np.float64) ** 2).sum()) for name in sent
               if not name.rpartition('.')[2].startswith(('running', 'num'))) ** 0.5


def test_fedprox_holds_clients_back_whoever_asks_for_it(tiny_videos, tmp_path, monkeypatch):
    """Flower's FedProx sends the same instruction. The clients' losses stay those of the task."""

    def trained(name, strategy):
        values = tiny_values(tiny_videos, rounds=1, local_epochs=3, strategy=strategy)
        values['optim_wrapper'] = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-4))
        return first_replies(from_dict(values), tmp_path / name, monkeypatch)

    plain = trained('plain', dict(type='FedAvg', exchange=['backbone']))
    ours = trained('ours', dict(type='FedProx', mu=3000.0))
    theirs = trained('theirs', dict(type='FlowerStrategy', strategy='FedProx', arguments=dict(proximal_mu=3000.0)))
    for (sent, received, free), (_, near, held), (_, same, told) in zip(plain, ours, theirs, strict=True):
        assert 0 < moved(sent, near) < 0.8 * moved(sent, received)
        assert all(np.array_equal(near[name], same[name]) for name in near)
        assert held['penalty'] == told['penalty'] > 0 and 'penalty' not in free
        assert held['loss'] == told['loss'] != free['loss']
