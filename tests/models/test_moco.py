"""Video MoCo: the loss, the slow copies, the queue, and what stays with a client."""

import math
from copy import deepcopy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch.nn import functional as F

from fedvssl.config import from_dict
from fedvssl.errors import ConfigError
from fedvssl.federated.run import federate
from fedvssl.models import MoCoHead, build_model
from fedvssl.models.contrast import contrast
from fedvssl.models.pretext.moco import embed
from fedvssl.state import HeadStore
from fedvssl.training.hooks import Hook
from tests.conftest import tiny_values

KEYS = ('key_encoder.', 'key_head.')


def config(queue_size=16, dimensions=8, **arguments):
    return dict(type='MoCo', backbone=dict(type='R3D18', base_channels=4),
                head=dict(type='MoCoHead', out_channels=dimensions), queue_size=queue_size,
                data_preprocessor=dict(type='ClipPreprocessor'), **arguments)


def moco(seed=7, **arguments):
    return build_model(config(**arguments), seed)


def inputs(size=4, seed=0):
    return torch.randn(size, 2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


def copied(model):
    """Returns a copy of the model's state."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def keys_of(model, x):
    """Returns the keys (B, D) the slow copies give in training mode, without touching the model."""
    model = deepcopy(model)
    with torch.no_grad():
        return embed(model.key_encoder, model.key_head, x[:, 1])


def test_the_projector_is_the_published_one():
    head = MoCoHead(512)
    assert [tuple(p.shape) for p in head.parameters()] == [(512, 512), (512,), (128, 512), (128,)]
    features = torch.randn(3, 512, generator=torch.Generator().manual_seed(1))
    hidden = torch.clamp(features @ head.fc1.weight.T + head.fc1.bias, min=0) @ head.fc2.weight.T + head.fc2.bias
    torch.testing.assert_close(head(features), hidden / (hidden ** 2).sum(dim=1, keepdim=True).sqrt())
    assert MoCoHead(8, hidden_channels=3).fc2.in_features == 3


def test_published_settings_are_the_defaults():
    model = moco(queue_size=65536, dimensions=128)
    assert (model.momentum, model.temperature) == (0.999, 0.2) and model.queue.shape == (65536, 128)
    torch.testing.assert_close(model.queue.norm(dim=1), torch.ones(65536))
    assert abs(float(model.queue.mean())) < 1e-3


def test_slow_copies_start_equal_and_the_seed_decides_the_queue():
    model, same, other = moco(), moco(), moco(seed=8)
    state = model.state_dict()
    for name, tensor in state.items():
        if name.startswith(KEYS):
            assert tensor.equal(state[name.replace('key_encoder', 'backbone').replace('key_head', 'head')]), name
    assert all(tensor.equal(same.state_dict()[name]) for name, tensor in state.items())
    assert not model.queue.equal(other.queue)


def test_the_loss_against_an_independent_spelling():
    model, x = moco(), inputs()
    keys, twin = keys_of(model, x), deepcopy(model)
    queries = embed(twin.backbone, twin.head, x[:, 0]).detach()
    expected, correct = [], 0
    for q, k in zip(queries, keys, strict=True):
        positive = math.exp(float(q @ k) / 0.2)
        negatives = [math.exp(float(q @ old) / 0.2) for old in model.queue]
        expected.append(-math.log(positive / (positive + sum(negatives))))
        correct += positive > max(negatives)
    result = model(x, mode='loss')
    assert result['loss'].item() == pytest.approx(sum(expected) / 4, rel=1e-5)
    assert result['accuracy'].item() == correct / 4


def test_accuracy_counts_the_positive_that_wins():
    q = F.normalize(torch.tensor([[1., 0], [0, 1], [-1, 0]]), dim=1)
    cosines = contrast(q, q.roll(1, dims=0), q[:1])
    torch.testing.assert_close(cosines, torch.tensor([[-1., 1], [0, 0], [0, -1]]))


def test_initial_loss_with_a_queue_of_random_directions():
    """ln(1 + K exp(1 / (2 D τ²) - s / τ)), with the cosine s of a query and its key."""
    losses, expected = [], []
    for seed in range(6):
        model, x = moco(seed=seed, queue_size=4096, dimensions=128), inputs(8, seed)
        twin = deepcopy(model)
        queries = embed(twin.backbone, twin.head, x[:, 0]).detach()
        s = float((queries * keys_of(model, x)).sum(dim=1).mean())
        expected.append(math.log(1 + 4096 * math.exp(1 / (2 * 128 * 0.04) - s / 0.2)))
        losses.append(float(model(x, mode='loss')['loss'].detach()))
    assert sum(losses) / 6 == pytest.approx(sum(expected) / 6, abs=0.2)


def test_the_loss_is_ln_1_plus_k_once_the_queue_holds_keys_of_the_untrained_network():
    model = moco(queue_size=64, dimensions=128)
    losses = [float(model(inputs(8, seed), mode='loss')['loss'].detach()) for seed in range(16)]
    assert losses[0] < 2.5
    assert sum(losses[8:]) / 8 == pytest.approx(math.log(65), abs=0.3)  # cosines scatter: a little more


def test_slow_copies_take_a_step_before_keys_are_computed():
    model, x = moco(momentum=0.75), inputs()
    model(x, mode='loss')
    with torch.no_grad():
        for parameter in (*model.backbone.parameters(), *model.head.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)), alpha=0.1)
    before = dict(model.named_parameters())
    expected = {name: 0.75 * tensor.detach() + 0.25 * before[
        name.replace('key_encoder', 'backbone').replace('key_head', 'head')].detach()
        for name, tensor in before.items() if name.startswith(KEYS)}
    twin = deepcopy(model)
    twin.load_state_dict(expected, strict=False)
    model(x, mode='loss')
    after = dict(model.named_parameters())
    assert len(expected) == 64
    for name, tensor in expected.items():
        torch.testing.assert_close(after[name], tensor, msg=name)
    torch.testing.assert_close(model.queue[4:8], keys_of(twin, x))


def test_who_never_trained_starts_the_slow_copies_from_the_model_received():
    model, other = moco(), moco(seed=8)
    model.load_state_dict({name: tensor for name, tensor in other.state_dict().items() if 'backbone' in name},
                          strict=False)
    received = dict(copied(model.backbone))
    model(inputs(), mode='loss')
    for name, parameter in model.key_encoder.named_parameters():
        assert parameter.equal(received[name]), name


def test_the_queue_is_first_in_first_out_and_wraps_around():
    model = moco(queue_size=5)
    start, expected = model.queue.clone(), list(model.queue.clone())
    for step in range(4):  # 5 does not divide by 3
        x = inputs(3, seed=step)
        for offset, key in enumerate(keys_of(model, x)):
            expected[(3 * step + offset) % 5] = key
        model(x, mode='loss')
        torch.testing.assert_close(model.queue, torch.stack(expected))
        assert model.queue_pointer == 3 * (step + 1)
        if step == 0:
            assert model.queue[3:].equal(start[3:])
    torch.testing.assert_close(model.queue.norm(dim=1), torch.ones(5))


def test_a_batch_larger_than_the_queue_leaves_its_last_keys():
    model, x = moco(queue_size=3), inputs(8)
    keys = keys_of(model, x)
    model(x, mode='loss')
    torch.testing.assert_close(model.queue, keys[[6, 7, 5]])  # key i lies at place i % 3


def test_no_gradient_reaches_keys_and_no_optimiser_moves_them():
    """Weight decay would."""
    model, x = moco(), inputs()
    optimiser = dict(type='OptimWrapper', clip_grad=dict(max_norm=40),
                     optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.1))
    wrapper = build_optim_wrapper(model, optimiser)
    assert all(p.requires_grad is not name.startswith(KEYS) for name, p in model.named_parameters())
    for step in range(2):
        loss = model(x, mode='loss')['loss']
        before = copied(model)
        wrapper.backward(loss)
        assert all(p.grad is None for name, p in model.named_parameters() if name.startswith(KEYS))
        assert all(p.grad is not None and p.grad.any() for name, p in model.named_parameters()
                   if name.startswith(('backbone.', 'head.'))), step
        wrapper.step()
        wrapper.zero_grad()
        for name, tensor in model.state_dict().items():
            if 'running' not in name and 'num_batches' not in name:
                assert tensor.equal(before[name]) is name.startswith((*KEYS, 'queue')), name


def test_evaluation_changes_nothing():
    model = moco()
    model(inputs(), mode='loss')
    model.eval()
    before = copied(model)
    with torch.inference_mode():
        loss = model(inputs(seed=1), mode='loss')['loss']
        embeddings = model(inputs(seed=1), mode='predict')
    assert loss.isfinite() and embeddings.shape == (4, 2, 8)
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(embeddings[:, 1], embed(model.backbone, model.head, inputs(seed=1)[:, 1]))
    model.train()
    model(inputs(seed=2), mode='loss')['loss'].backward()  # nothing of inference mode is left behind


def test_score_is_the_share_of_nearest_partners():
    first = torch.eye(4)
    second = torch.stack([first[0], first[2], first[1], first[3]])  # 1 and 2 are mixed up
    score = moco().score(torch.stack([first, second], dim=1), torch.zeros(4))
    assert score == dict(accuracy=0.5)
    collapsed = torch.ones(4, 2, 8)
    assert moco().score(collapsed, torch.zeros(4)) == dict(accuracy=0.25)


@pytest.mark.parametrize('arguments', [dict(queue_size=0), dict(momentum=1.0), dict(temperature=0)])
def test_arguments_out_of_range(arguments):
    with pytest.raises(ConfigError, match=f'{next(iter(arguments))}.*not'):
        moco(**arguments)


def test_samples_must_have_two_clips():
    for mode in ('loss', 'predict'):
        with pytest.raises(ConfigError, match='samples of 2 clips, not 3; set num_clips=2'):
            moco()(torch.zeros(2, 3, 3, 4, 16, 16), mode=mode)


def test_in_a_federation_only_the_backbone_travels_and_the_rest_goes_on(tiny_videos, tmp_path):
    values = tiny_values(tiny_videos, rounds=2, clients_per_round=4, evaluate_every=2)
    pairs = dict(type='RandomClipSampler', clip_length=4, num_clips=2, stride=[1, 2], jitter=True)
    for phase in ('train', 'test'):
        values['data'][phase] |= dict(sampler=pairs, independent_clips=True)
    state = federate(from_dict(values | dict(model=config(queue_size=6))), tmp_path, hook=Hook())
    assert len(state.tensors) == 120 and all(name.startswith('backbone.') for name in state.tensors)
    assert 0 <= state.metrics['test_accuracy'] <= 1
    for partition in range(4):
        first, second = (HeadStore(tmp_path, partition).load(number) for number in (1, 2))
        names = {name.split('.')[0] for name in first}
        assert names == {'head', 'key_encoder', 'key_head', 'queue', 'queue_pointer'}
        # 4 videos a round: the second round's keys take places 4, 5, 0, 1.
        assert (first['queue_pointer'], second['queue_pointer']) == (4, 8)
        stayed = (first['queue'] == second['queue']).all(axis=1)
        assert stayed.tolist() == [False, False, True, True, False, False]
        assert first['key_encoder.conv1.bn.num_batches_tracked'] == 2
        assert second['key_encoder.conv1.bn.num_batches_tracked'] == 4
        drift = abs(second['key_encoder.conv1.conv.weight'] - first['key_encoder.conv1.conv.weight']).max()
        assert 0 < drift < 1e-3
