"""The update monitor, against updates that are kept whole."""

import math

import numpy as np
import pytest

from fedvssl import rng
from fedvssl.config import from_dict
from fedvssl.federated import client as client_module
from fedvssl.federated.arrays import to_arrays
from fedvssl.federated.run import federate
from fedvssl.federated.updates import WIDTH, UpdateMonitor, sketched
from fedvssl.training.hooks import Hook
from tests.conftest import tiny_values


class Record(Hook):
    """Remembers the rounds."""

    def __init__(self):
        self.rounds = []

    def after_round(self, number, metrics):
        self.rounds.append(metrics)


def update(seed, shape=(37, 101)):
    return np.random.default_rng(seed).standard_normal(shape)


def sketch_of(*tensors):
    named = {f'w{index}': tensor for index, tensor in enumerate(tensors)}
    return sketched(named, {name: np.zeros_like(tensor) for name, tensor in named.items()}, rng.generator(5, 'sketch'))


def test_a_sketch_is_a_signed_sum_by_remainder_of_the_coordinate():
    u = update(1, (50,))
    signs = np.unpackbits(np.frombuffer(rng.generator(5, 'sketch').bytes(7), np.uint8), count=50)
    expected = np.zeros(8)
    for index in range(50):
        expected[index % 8] += -u[index] if signs[index] else u[index]
    sketch, squared = sketched({'w': u}, {'w': np.zeros(50)}, rng.generator(5, 'sketch'), width=8)
    np.testing.assert_allclose(sketch, expected, atol=1e-12)
    assert squared == pytest.approx(float((u * u).sum()))


def test_where_a_tensor_ends_does_not_matter_to_the_place_of_a_coordinate():
    u = update(1, (60,))
    whole, _ = sketched({'w': u}, {'w': np.zeros(60)}, rng.generator(5, 'sketch'), width=7)
    signs = rng.generator(5, 'sketch')
    parts = {'a': u[:32], 'b': u[32:]}  # signs are drawn 32 at a time
    split, _ = sketched(parts, {name: np.zeros_like(part) for name, part in parts.items()}, signs, width=7)
    np.testing.assert_allclose(split, whole, atol=1e-12)


@pytest.mark.parametrize('angle', [0.0, 0.3, 1.2, math.pi / 2])
def test_the_error_of_an_inner_product(angle):
    """As the docstring says: unbiased, and a standard deviation of sqrt((1 + cos²) / W) of the product of the norms."""
    errors = []
    for seed in range(40):
        u, v = abs(update(2 * seed, (60, 1000))), update(2 * seed + 1, (60, 1000))  # without signs, those of u add up
        u /= np.linalg.norm(u)
        v -= (u * v).sum() * u
        v = math.cos(angle) * u + math.sin(angle) * v / np.linalg.norm(v)
        signs = (rng.generator(seed, 'sketch') for _ in range(2))
        first, second = (sketched({'w': tensor}, {'w': np.zeros_like(tensor)}, next(signs))[0] for tensor in (u, v))
        errors.append(first @ second - math.cos(angle))
    expected = math.sqrt((1 + math.cos(angle) ** 2) / WIDTH)
    assert abs(np.mean(errors)) < 3 * expected / math.sqrt(40)
    assert 0.7 * expected < np.std(errors) < 1.3 * expected


def test_parameters_count_and_neither_counters_nor_running_statistics():
    old = {'bn.running_mean': np.zeros(3), 'bn.running_var': np.ones(3), 'bn.weight': np.zeros(3),
           'bn.num_batches_tracked': np.array(3)}
    new = {'bn.running_mean': np.full(3, 9.0), 'bn.running_var': np.full(3, 99.0), 'bn.weight': np.array([0, 3, 4.0]),
           'bn.num_batches_tracked': np.array(1000)}
    assert sketched(new, old, rng.generator(5, 'sketch'))[1] == 25


def told(monitor, number, attempt, client, examples, new, old):
    metrics = dict(client=client, attempt=attempt, loss=0.5, **{'num-examples': examples})
    monitor.after_reply(number, metrics, lambda: old, lambda: new)


def test_opposed_alike_and_alone():
    monitor = UpdateMonitor(every=1)
    monitor.before_run(dict(rounds=9))
    zero, one = {'w': np.zeros(2)}, {'w': np.array([3.0, 4.0])}
    for number, others, cosines in ((1, [], [1]), (2, [one], [1, 1]), (3, [{'w': -one['w'] / 5}], [1, -1])):
        monitor.before_round(number, 2)
        for client, new in enumerate([one, *others]):
            told(monitor, number, 1, client, 10, new, zero)
        found = monitor.measure(number, {})
        assert found['update_cosines'] == {str(client): pytest.approx(value) for client, value in enumerate(cosines)}
        assert found['update_norms']['0'] == 5 and found['client_losses']['0'] == 0.5
    monitor.before_round(4, 2)
    told(monitor, 4, 1, 0, 10, zero, zero)
    assert monitor.measure(4, {})['update_norm'] == 0  # and no cosine, which it has not
    assert 'update_cosines' not in monitor.measure(4, {})


def test_replies_of_an_attempt_without_quorum_do_not_count():
    monitor = UpdateMonitor(every=1)
    monitor.before_run(dict(rounds=9))
    monitor.before_round(1, 2)
    zero, one = {'w': np.zeros(2)}, {'w': np.ones(2)}
    told(monitor, 1, 1, 0, 10, one, zero)
    told(monitor, 1, 2, 3, 10, one, zero)
    assert set(monitor.measure(1, {})['update_norms']) == {'3'}


def exact(new, old, examples):
    """Cosines to the weighted mean from whole updates."""
    updates = [np.concatenate([(tensors[name].astype(np.float64) - old[name]).ravel() for name in tensors
                               if tensors[name].dtype == np.float32 and 'running' not in name]) for tensors in new]
    mean = np.average(updates, axis=0, weights=examples)
    return ([float(np.linalg.norm(u)) for u in updates],
            [float(u @ mean / np.linalg.norm(u) / np.linalg.norm(mean)) for u in updates])


@pytest.mark.parametrize('wire_dtype', [None, 'bf16'])
def test_a_run(monkeypatch, tiny_videos, tmp_path, wire_dtype):
    sent, replies, losses = {}, {}, {}
    original = client_module.Client.train

    def spy(self, message, context):
        start = {name: np.array(tensor) for name, tensor in to_arrays(message.content['arrays']).items()}
        reply, client = original(self, message, context), context.node_config['partition-id']
        number = int(message.content['config']['server-round'])
        sent[number] = start
        tensors = {name: np.array(tensor) for name, tensor in to_arrays(reply.content['arrays']).items()}
        replies.setdefault(number, {})[client] = tensors
        losses.setdefault(number, {})[str(client)] = reply.content['metrics']['loss']
        return reply

    monkeypatch.setattr(client_module.Client, 'train', spy)
    record = Record()
    values = tiny_values(tiny_videos, rounds=3, clients_per_round=3, wire_dtype=wire_dtype)
    federate(from_dict(values | dict(monitors=[dict(type='UpdateMonitor', every=2)])), tmp_path, hook=record)
    assert 'monitor' not in record.rounds[0]
    for number in (2, 3):  # every second round and the last
        found = record.rounds[number - 1]['monitor']
        clients = sorted(replies[number])
        norms, cosines = exact([replies[number][client] for client in clients], sent[number], [4, 4, 4])
        assert list(found['update_norms'].values()) == pytest.approx(norms, rel=1e-9)
        assert list(found['update_cosines'].values()) == pytest.approx(cosines, abs=0.03)
        assert found['update_norm'] == pytest.approx(np.mean(norms))
        assert found['client_losses'] == losses[number]
        assert all(whole >= norm for whole, norm in zip(found['whole_update_norms'].values(), norms, strict=True))
