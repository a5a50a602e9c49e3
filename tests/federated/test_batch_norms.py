"""What becomes of batch norms: which tensors they are, what travels, what a checkpoint without them is good for."""

import numpy as np
import pytest
import torch
from torch import nn

from fedvssl.config import from_dict
from fedvssl.errors import ConfigError
from fedvssl.evaluation.finetune import FineTuning
from fedvssl.federated.batch_norms import BatchNorms
from fedvssl.federated.run import federate
from fedvssl.federated.server import initial_state
from fedvssl.federated.strategies import FedAvg
from fedvssl.models import build_model
from fedvssl.state import HeadStore
from fedvssl.training.hooks import Hook
from tests.conftest import tiny_finetuning_values, tiny_values


def test_those_of_a_model_by_what_they_are():
    model = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2), nn.BatchNorm1d(2, track_running_stats=False),
                          nn.GroupNorm(1, 2), nn.SyncBatchNorm(2, affine=False))
    norms = BatchNorms.of(model)
    tracked = {f'{layer}.{name}' for layer in '14' for name in ('running_mean', 'running_var', 'num_batches_tracked')}
    assert norms.statistics == tracked
    assert norms.tensors == tracked | {'1.weight', '1.bias', '2.weight', '2.bias'}
    # Names alone cannot tell a batch norm that keeps no statistics from a group norm.
    assert BatchNorms.guess(model.state_dict()) == BatchNorms(norms.tensors - {'2.weight', '2.bias'}, norms.statistics)
    assert BatchNorms.of(model[1]).tensors == set(model[1].state_dict())


def test_of_our_backbone_names_say_the_same(tmp_path):
    model = build_model(tiny_values(tmp_path)['model'], 7)
    assert BatchNorms.of(model) == BatchNorms.guess(model.state_dict())
    assert len(BatchNorms.of(model).tensors) == 100 and len(BatchNorms.of(model).statistics) == 60
    strategy = FedAvg()
    initial_state(from_dict(tiny_values(tmp_path)), strategy)
    assert strategy.batch_norms([]) == BatchNorms.of(model)  # told of the model, not guessed from names


@pytest.mark.parametrize(('bn', 'count'), [('aggregate', 120), ('local_statistics', 60), ('local', 20)])
def test_what_travels_and_what_stays(tiny_config, tmp_path, bn, count):
    config = tiny_config(rounds=1, clients_per_round=4, strategy=dict(type='FedVSSL', bn=bn))
    state = federate(config, tmp_path, hook=Hook())
    assert len(state.tensors) == count
    heads = [HeadStore(tmp_path, partition).load(1) for partition in range(4)]
    assert all(len(head) == 124 - count and not head.keys() & state.tensors.keys() for head in heads)
    kinds = {name.rpartition('.')[2] for name in heads[0] if name.startswith('backbone.')}
    assert kinds == {'aggregate': set(), 'local_statistics': {'running_mean', 'running_var', 'num_batches_tracked'},
                     'local': {'weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked'}}[bn]
    if bn != 'aggregate':
        mean = 'backbone.conv1.bn.running_mean'
        assert not np.array_equal(heads[0][mean], heads[1][mean])
        assert all(head['backbone.conv1.bn.num_batches_tracked'] == 2 for head in heads)


def test_a_policy_that_leaves_nothing_is_refused(tiny_videos):
    config = from_dict(tiny_values(tiny_videos))
    everything = frozenset(initial_state(config, FedAvg(exchange=['backbone'])).tensors)

    class AllNorms(FedAvg):
        def batch_norms(self, names):
            return BatchNorms(everything)

    with pytest.raises(ConfigError, match=r"federation.strategy.bn: 'local' leaves nothing of .*backbone"):
        initial_state(config, AllNorms(exchange=['backbone'], bn='local'))


@pytest.mark.parametrize(('bn', 'stayed'), [('local', 'batch norms'),
                                            ('local_statistics', 'running statistics of batch norms')])
def test_a_run_without_batch_norms_can_be_finetuned_from(tiny_config, tiny_videos, tmp_path, bn, stayed):
    state = federate(tiny_config(rounds=1, strategy=dict(type='FedVSSL', bn=bn)), tmp_path, hook=Hook())
    job = FineTuning(from_dict(tiny_finetuning_values(tiny_videos)))
    before = {name: tensor.clone() for name, tensor in job.trainer.model.state_dict().items()}
    report = job.load(str(tmp_path))
    job.close()
    after = job.trainer.model.state_dict()
    assert f'these are {stayed}, which stayed with the clients; they keep their initial values' in str(report)
    assert set(report.matched) == set(state.tensors) and len(report.missing) == 120 - len(state.tensors)
    assert all(torch.equal(after[name], torch.from_numpy(tensor)) for name, tensor in state.tensors.items())
    assert all(torch.equal(after[name], before[name]) for name in report.missing)
