"""The linear classifier on fixed features: steps by hand and by a second implementation; the choice of the rate."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedvssl import rng
from fedvssl.errors import ConfigError, DataListError
from fedvssl.evaluation.linear_classifier import choose_rate, hold_out, train_linear
from fedvssl.evaluation.metrics import accuracy_report
from fedvssl.sections import CachedLinearConfig

SETTINGS = CachedLinearConfig(epochs=20, batch_size=32)


def noise(n, d, classes, seed):
    """Standard normal features that know nothing of their balanced labels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator), torch.arange(n) % classes


def clusters(n, classes, seed=0, spread=0.1):
    """Features around one corner of a simplex a class."""
    features, labels = noise(n, classes, classes, seed)
    return torch.eye(classes)[labels] + spread * features, labels


def test_two_steps_by_hand():
    """One sample h = 2 of class 0 of 2, lr 0.1: a step of the full rate, and one of half of it (cosine at p = 1/2)."""
    settings = CachedLinearConfig(epochs=2, batch_size=256)
    trained = train_linear(torch.tensor([[2.0]]), torch.tensor([0]), 2, 0.1, settings, 7, 'x')
    # Step 1: p = (1/2, 1/2), dL/dz = p - y = (-1/2, 1/2), dW = (-1, 1), db = (-1/2, 1/2): W = (0.1, -0.1), b = W / 2.
    z = 0.1 * 2 + 0.05  # and -z
    p = math.exp(z) / (math.exp(z) + math.exp(-z))
    velocity = 0.9 * -1 + 2 * (p - 1)
    assert trained.weight[0, 0].item() == pytest.approx(0.1 - 0.05 * velocity, rel=1e-6)
    assert trained.bias[0].item() == pytest.approx(0.05 - 0.05 * velocity / 2, rel=1e-6)
    torch.testing.assert_close(trained.weight[1], -trained.weight[0])


def reference(features, labels, classes, learning_rate, settings, seed, stream):
    """A second implementation, in float64 numpy: returns weights (classes, d) and biases."""
    x, y = np.hstack([features.numpy(), np.ones((len(features), 1))]).astype(np.float64), np.eye(classes)[labels]
    weight, velocity = np.zeros((classes, x.shape[1])), np.zeros((classes, x.shape[1]))
    per_epoch = -(-len(x) // settings.batch_size)
    for step in range(settings.epochs * per_epoch):
        if step % per_epoch == 0:
            order = rng.generator(seed, 'order', 'linear', stream, step // per_epoch + 1).permutation(len(x))
            batches = np.array_split(order, per_epoch)
        batch = batches[step % per_epoch]
        logits = x[batch] @ weight.T
        share = np.exp(logits - logits.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        gradient = (share - y[batch]).T @ x[batch] / len(batch) + settings.weight_decay * weight
        velocity = settings.momentum * velocity + gradient
        rate = learning_rate * settings.batch_size / 256
        weight = weight - rate * (1 + np.cos(np.pi * step / (settings.epochs * per_epoch))) / 2 * velocity
    return weight[:, :-1], weight[:, -1]


@pytest.mark.parametrize('changes', [{}, dict(weight_decay=0.01, momentum=0.5), dict(batch_size=7)])
def test_against_a_second_implementation(changes):
    features, labels = clusters(50, 4, spread=0.8)
    settings = replace(SETTINGS, epochs=5, **changes)
    trained = train_linear(features, labels, 4, 1.0, settings, 7, 'x')
    weight, bias = reference(features, labels, 4, 1.0, settings, 7, 'x')
    assert np.abs(weight).max() > 0.1
    np.testing.assert_allclose(trained.weight, weight, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(trained.bias, bias, rtol=1e-4, atol=1e-5)


def probe(features, labels, test_features, test_labels, classes, settings=SETTINGS):
    """Returns the accuracies of the whole protocol, and the trials."""
    rate, trials = choose_rate(features, labels, classes, settings, 7)
    trained = train_linear(features, labels, classes, rate, settings, 7, 'all')
    return accuracy_report(trained(test_features), test_labels), trials


@pytest.mark.parametrize('classes', [2, 10])
def test_noise_gives_chance(classes):
    report, trials = probe(*noise(400, 16, classes, 1), *noise(2000, 16, classes, 2), classes)
    sigma = math.sqrt((1 - 1 / classes) / classes / 2000)
    assert abs(report['top1'] - 1 / classes) < 3 * sigma
    assert [trial.learning_rate for trial in trials] == [0.1, 1.0, 10.0, 30.0]


def test_separable_features_give_100_percent():
    report, trials = probe(*clusters(200, 8), *clusters(400, 8, seed=5), 8)
    assert report['top1'] == report['top5'] == report['mean_class'] == 1
    assert all(trial.top1 == 1 for trial in trials)


def test_fewer_than_five_classes():
    report, _ = probe(*noise(60, 4, 3, 1), *noise(60, 4, 3, 2), 3)
    assert report['top5'] == 1 and report['top1'] < 1


def test_classes_without_training_videos_are_only_outputs():
    features, labels = clusters(60, 3)
    report, _ = probe(features, labels, features, labels, 6)
    assert report['top1'] == 1


def test_what_is_held_out():
    """Classes of 40, 5, 2 and 1: a tenth, rounded, at least one and never all."""
    labels = torch.tensor([0] * 40 + [1] * 5 + [2] * 2 + [3])[torch.randperm(48, generator=torch.manual_seed(0))]
    kept, held = hold_out(labels, 0.1, 7)
    assert labels[held].bincount(minlength=4).tolist() == [4, 1, 1, 0]
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(48))
    assert kept.tolist() == sorted(kept.tolist()) and held.tolist() == sorted(held.tolist())
    assert hold_out(labels, 0.1, 7)[1].tolist() == held.tolist() != hold_out(labels, 0.1, 8)[1].tolist()
    assert labels[hold_out(labels, 0.9, 7)[1]].bincount(minlength=4).tolist() == [36, 4, 1, 0]


def test_held_out_videos_are_not_trained_on():
    """Each class's videos have a direction of their own each: unseen ones cannot be known."""
    labels = torch.arange(20) % 2
    _, held = hold_out(labels, 0.1, 7)
    _, trials = probe(torch.eye(20), labels, torch.eye(20), labels, 2)
    assert len(held) == 2 and all(trial.top1 == 0.5 for trial in trials)  # equal logits: class 0, right for one of two


def test_the_best_top1_is_chosen_even_where_cross_entropy_prefers_another():
    features, labels = clusters(200, 4, seed=1, spread=0.6)
    rate, trials = choose_rate(features, labels, 4, SETTINGS, 7)
    assert rate == max(trials, key=lambda trial: trial.top1).learning_rate == 10.0
    assert min(trials, key=lambda trial: trial.cross_entropy).learning_rate == 1.0


def test_ties_go_to_the_lower_cross_entropy_then_the_lower_rate():
    features, labels = clusters(200, 4, spread=0.01)
    rate, trials = choose_rate(features, labels, 4, SETTINGS, 7)
    assert {trial.top1 for trial in trials} == {1.0}
    assert rate == min(trials, key=lambda trial: trial.cross_entropy).learning_rate == 30.0
    flat = torch.zeros(40, 3)  # whatever the rate, only a bias can be learned, and balanced classes need none
    settings = replace(SETTINGS, batch_size=40, learning_rates=[2, 1])
    assert choose_rate(flat, torch.arange(40) % 4, 4, settings, 7)[0] == 1


def test_a_rate_that_diverges_is_never_chosen():
    features, labels = clusters(40, 4)
    rate, trials = choose_rate(1e4 * features, labels, 4, replace(SETTINGS, learning_rates=[1e36, 1e-3]), 7)
    assert rate == 1e-3 and (trials[0].top1, trials[0].cross_entropy) == (None, None)
    with pytest.raises(ConfigError, match=r'training diverged with each of \[1e\+36, 1e\+37\]; add smaller ones'):
        choose_rate(1e4 * features, labels, 4, replace(SETTINGS, learning_rates=[1e36, 1e37]), 7)


def test_a_single_rate_is_taken():
    features, labels = torch.eye(3), torch.arange(3)
    with pytest.raises(DataListError, match='the 3 training videos are of as many classes'):
        choose_rate(features, labels, 3, SETTINGS, 7)
    assert choose_rate(features, labels, 3, replace(SETTINGS, learning_rates=[2.0]), 7) == (2.0, [])


@pytest.mark.parametrize(('label', 'message'), [(3, 'label 3 is out of range: 3 classes take 0 to 2'),
                                                (-1, 'label -1 is out of range')])
def test_labels_out_of_range(label, message):
    features, labels = noise(12, 4, 3, 0)
    labels[5] = label
    for run in (lambda: choose_rate(features, labels, 3, SETTINGS, 7),
                lambda: train_linear(features, labels, 3, 1.0, SETTINGS, 7, 'x')):
        with pytest.raises(DataListError, match=message):
            run()
    with pytest.raises(DataListError, match='no labelled videos'):
        train_linear(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 3, 1.0, SETTINGS, 7, 'x')


def test_same_seed_same_bits():
    features, labels = clusters(50, 4, spread=0.8)
    first = train_linear(features, labels, 4, 1.0, SETTINGS, 7, 'x')
    torch.rand(5)  # nothing is drawn from torch's global generator
    again = train_linear(features, labels, 4, 1.0, SETTINGS, 7, 'x')
    assert torch.equal(first.weight, again.weight) and torch.equal(first.bias, again.bias)
    for other in (train_linear(features, labels, 4, 1.0, SETTINGS, 8, 'x'),
                  train_linear(features, labels, 4, 1.0, SETTINGS, 7, 'y')):
        assert not torch.equal(first.weight, other.weight)


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(learning_rates=[]), 'learning_rates: must be positive numbers'),
    (dict(learning_rates=[0.1, -1]), 'learning_rates: must be positive numbers'),
    (dict(learning_rates=[0.1, 'a']), 'learning_rates: must be positive numbers'),
    (dict(learning_rates=[1, 1.0]), 'learning_rates: has one twice'),
    (dict(epochs=0), 'epochs: must be at least 1, not 0'), (dict(batch_size=0), 'batch_size: must be at least 1'),
    (dict(momentum=1.0), r'momentum: is in \[0, 1\)'), (dict(weight_decay=-1.0), 'weight_decay: must be 0 or more'),
    (dict(held_out=0.0), 'held_out: is a share above 0 and below 1'), (dict(held_out=1.0), 'held_out: is a share'),
])
def test_settings_that_make_no_sense(changes, message):
    with pytest.raises(ConfigError, match=f'evaluation.linear.{message}'):
        CachedLinearConfig(**changes)
