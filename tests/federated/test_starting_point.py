"""Where clients start: FedU's predictor, FedEMA's mixture, by hand and in runs."""

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord

import fedvssl.federated.client as client_module
from fedvssl.errors import ConfigError
from fedvssl.federated.run import federate
from fedvssl.federated.starting_point import SCALE, distance, divergence, keeps_copy, starting_point
from fedvssl.state import HeadStore
from fedvssl.training.hooks import Hook


def shared(head=1.0, backbone=0.0, steps=0):
    return {'backbone.w': torch.full((2, 2), backbone), 'backbone.b': torch.full((4,), backbone),
            'backbone.steps': torch.tensor(steps), 'head.w': torch.full((3,), head)}


def test_divergence_by_hand():
    """Squares: 4 * 0.25 + 4 * 0.25 over three tensors; the counter is a tensor, but no distance."""
    own, received = shared(backbone=0.5, steps=571), shared()
    assert divergence(own, received, ['backbone.w', 'backbone.b', 'backbone.steps']) == pytest.approx(2 / 3)


@pytest.mark.parametrize(('threshold', 'head'), [(0.67, 1.0), (0.66, 9.0), (0.0, 9.0)])
def test_the_predictor_is_the_global_one_just_below_the_threshold(threshold, head):
    asked = ConfigRecord({'divergence-threshold': threshold, 'divergence-of': 'backbone'})
    own, received = shared(head=9.0, backbone=0.5, steps=571), shared(head=1.0)
    model = {**own, **starting_point(asked, own, received)}
    assert float(model['head.w'][0]) == head
    assert all(torch.equal(model[name], received[name]) for name in received if name.startswith('backbone.'))
    assert keeps_copy(asked) and not keeps_copy(ConfigRecord({}))


def test_the_first_time_and_without_being_asked_everything_is_global():
    asked = ConfigRecord({'divergence-threshold': 0.0, 'divergence-of': 'backbone'})
    assert starting_point(asked, {}, shared()).keys() == shared().keys()
    assert starting_point(ConfigRecord({}), shared(9.0, 5.0), shared()).keys() == shared().keys()
    with pytest.raises(ConfigError, match='divergence-threshold=-0.5'):
        starting_point(ConfigRecord({'divergence-threshold': -0.5, 'divergence-of': 'backbone'}), shared(), shared())


@pytest.mark.parametrize(('threshold', 'keeps'), [(1e9, False), (0.0, True)])
def test_fedu_in_a_run(tiny_config, tmp_path, monkeypatch, threshold, keeps):
    """In round 2 a client starts from its own head of round 1, or from the global one, but from the global backbone."""
    started, original = {}, client_module.Client._fit

    def spy(self, indices, partition, number):
        started[partition, number] = {name: tensor.clone() for name, tensor in self.trainer.model.state_dict().items()}
        return original(self, indices, partition, number)

    monkeypatch.setattr(client_module.Client, '_fit', spy)
    config = tiny_config(rounds=2, clients_per_round=4, strategy=dict(type='FedU', threshold=threshold))
    state = federate(config, tmp_path, hook=Hook())
    assert state.heads == {0: 2, 1: 2, 2: 2, 3: 2}
    for partition in range(4):
        last = HeadStore(tmp_path, partition).load(1)
        assert len(last) == 124  # what it compares with next time is there, too
        begun, other = started[partition, 2], started[(partition + 1) % 4, 2]
        assert torch.equal(begun['head.fc1.weight'], torch.from_numpy(last['head.fc1.weight'])) == keeps
        assert torch.equal(begun['head.fc1.weight'], other['head.fc1.weight']) != keeps
        assert torch.equal(begun['backbone.conv1.conv.weight'], other['backbone.conv1.conv.weight'])
        assert not np.array_equal(begun['backbone.conv1.conv.weight'], last['backbone.conv1.conv.weight'])


@pytest.mark.parametrize(('asked', 'mu', 'scale'), [
    ({'mix-scale': 0.25}, 0.5, 0.25), ({'mix-scale': 9.0}, 1.0, 9.0), ({'mix-scale': 0.0}, 0.0, 0.0),
    ({'mix-target': 0.7}, 0.7, 0.35),  # the first time: 0.7 / 2
])
def test_a_mixture_by_hand(asked, mu, scale):
    """The backbones are sqrt(4 * 0.5 + 4 * 0.5) = 2 apart; heads are mixed alike, whole numbers are the global ones."""
    own, received = shared(head=9.0, backbone=0.5 ** 0.5, steps=571), shared(head=1.0, steps=7)
    found = starting_point(ConfigRecord(asked | {'divergence-of': 'backbone'}), own, received)
    assert found['backbone.w'].tolist() == torch.full((2, 2), mu * 0.5 ** 0.5).tolist()
    assert torch.allclose(found['head.w'], torch.full((3,), mu * 9 + (1 - mu) * 1))
    assert int(found['backbone.steps']) == 7 and float(found[SCALE]) == pytest.approx(scale)
    assert distance(own, received, ['backbone.w', 'backbone.b']) == pytest.approx(2)


def test_a_clients_scale_is_set_once():
    asked = ConfigRecord({'mix-target': 0.7, 'divergence-of': 'backbone'})
    assert SCALE not in starting_point(asked, {}, shared())  # the first time everything is global
    assert SCALE not in starting_point(asked, shared(9.0), shared())  # no distance: no scale yet
    later = starting_point(asked, shared(9.0, backbone=0.5 ** 0.5) | {SCALE: torch.tensor(0.1)}, shared())
    assert float(later[SCALE]) == pytest.approx(0.1)
    assert torch.allclose(later['head.w'], torch.full((3,), 0.2 * 9 + 0.8))
    again = starting_point(asked, shared(9.0) | {SCALE: torch.tensor(0.1)}, shared())
    assert float(again[SCALE]) == pytest.approx(0.1) and float(again['head.w'][0]) == 1
    assert keeps_copy(asked)


def test_fedema_in_a_run(tiny_config, tmp_path, monkeypatch):
    """The scale set in round 2 is on the client's disk, and used in round 3."""
    started, original = {}, client_module.Client._fit

    def spy(self, indices, partition, number):
        started[partition, number] = {name: tensor.clone() for name, tensor in self.trainer.model.state_dict().items()}
        return original(self, indices, partition, number)

    monkeypatch.setattr(client_module.Client, '_fit', spy)
    config = tiny_config(rounds=3, clients_per_round=4, strategy=dict(type='FedEMA', target=0.5))
    federate(config, tmp_path, hook=Hook())
    for partition in range(4):
        heads = {number: HeadStore(tmp_path, partition).load(number) for number in (1, 2, 3)}
        assert SCALE not in heads[1] and float(heads[2][SCALE]) == float(heads[3][SCALE]) > 0
        assert SCALE not in started[partition, 3]
    name = 'backbone.conv1.conv.weight'
    assert not torch.equal(started[0, 2][name], started[1, 2][name])  # each has some of its own
    average = sum(HeadStore(tmp_path, k).load(1)[name].astype(float) for k in range(4)) / 4
    half = (HeadStore(tmp_path, 0).load(1)[name] + average) / 2
    assert np.allclose(started[0, 2][name], half, atol=1e-6)
