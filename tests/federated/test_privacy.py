"""Differential privacy: what ε is told, how large the noise is, where it is put, and what travels."""

import json
import math
from functools import partial

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping
from flwr.serverapp.strategy import FedAvg as FlowerFedAvg
from scipy.integrate import quad
from scipy.stats import norm

from fedvssl import rng
from fedvssl.config import from_dict
from fedvssl.errors import ConfigError
from fedvssl.federated import client as client_module
from fedvssl.federated.arrays import to_arrays, to_record
from fedvssl.federated.cohort import Cohorts, Roster
from fedvssl.federated.engines.answer import Contexts
from fedvssl.federated.engines.local import LocalGrid
from fedvssl.federated.noise import flower_noise
from fedvssl.federated.privacy import delta_of, epsilon_of, multiplier_for
from fedvssl.federated.privacy_mods import LocalDP, clip_when_asked, from_vector, to_vector
from fedvssl.federated.run import federate
from fedvssl.federated.server import build_strategy, initial_state
from fedvssl.federated.strategies import CentralDP, FedAvg
from fedvssl.federated.strategies.adaptive_norm import ClippingNorm
from fedvssl.sections import LocalDPConfig
from fedvssl.state import RoundStore
from fedvssl.training.hooks import Hook
from tests.conftest import tiny_values
from tests.federated.test_run import Record, StopAfter, fingerprint

UNIFORM = dict(type='FedAvg', uniform=True, exchange=['backbone'])
SIZE = 120_000


@pytest.fixture(autouse=True)
def grid():
    """A grid tells Flower who sends; without one, no message can be made."""
    return LocalGrid(lambda: None, 8)


def bound(strategy, clients=4, seed=7, drawn=None):
    """Binds a strategy to a run in which partition k is node k + 2."""
    roster = Roster(clients, {partition + 2: partition for partition in range(clients)})
    strategy.bind(Cohorts(seed, clients, drawn or clients), roster)
    return strategy


def aggregate(strategy, grid, previous, models, number=1, metrics=None):
    """Runs one round of a strategy on given replies; returns the new model and the metrics."""
    sent = list(strategy.configure_train(number, to_record(previous), ConfigRecord({'attempt': 1}), grid))
    replies = [Message(RecordDict({'arrays': to_record(model), 'metrics': MetricRecord(
        {'num-examples': 3 + k, 'loss': 1.0, **((metrics or [{}] * len(models))[k])})}), reply_to=message)
        for k, (message, model) in enumerate(zip(sent, models, strict=False))]
    arrays, told = strategy.aggregate_train(number, iter(replies))
    return to_arrays(arrays), told


def private(inner=UNIFORM, **arguments):
    return CentralDP(dict(inner), **dict(dict(noise_multiplier=1.5, clipping_norm=0.5, seeded_noise=True), **arguments))


def change(model, amount):
    """Returns the model with an update of norm `amount` in its first number."""
    changed = {name: tensor.copy() for name, tensor in model.items()}
    first = next(iter(changed.values()))
    first.reshape(-1)[0] += amount
    return changed


@pytest.fixture
def start():
    return {'backbone.w': np.zeros(SIZE, np.float32), 'backbone.b': np.full((3, 2), 0.25, np.float32)}


# What ε is worth.


@pytest.mark.parametrize(('z', 'releases', 'delta', 'numerical', 'renyi'), [
    # Google's dp-accounting 0.6: privacy loss distributions (interval 1e-3), and Rényi orders as Flower 1.41 calls them
    (1.0, 2, 1e-3, 4.845252, 5.420018), (1.0, 1, 1e-5, 4.377178, 4.728507), (2.0, 100, 1e-5, 33.103733, 35.081754)])
def test_epsilon_equals_a_numerical_accountant_and_is_below_renyis(z, releases, delta, numerical, renyi):
    epsilon = epsilon_of(z, releases, delta)
    assert epsilon == pytest.approx(numerical, abs=2e-6)
    orders = np.linspace(1.01, 64, 100_000)  # Mironov 2017; Canonne, Kamath & Steinke 2020
    bound_ = orders * releases / (2 * z * z) + np.log1p(-1 / orders) - np.log(delta * orders) / (orders - 1)
    assert epsilon < bound_.min() == pytest.approx(renyi, abs=0.02)


@pytest.mark.parametrize(('z', 'releases', 'epsilon'), [(1.0, 1, 0.5), (0.7, 3, 2.0), (3.0, 10, 0.1)])
def test_delta_is_the_divergence_of_two_gaussians(z, releases, epsilon):
    shift = math.sqrt(releases) / z
    excess = partial(lambda x, gain: norm.pdf(x, shift) - gain * norm.pdf(x), gain=math.exp(epsilon))
    crossing = epsilon / shift + shift / 2  # above it, the first density is more than e^ε times the second
    assert delta_of(epsilon, z, releases) == pytest.approx(quad(excess, crossing, crossing + 40)[0], rel=1e-7)


def test_extreme_privacy_losses_are_finite():
    assert epsilon_of(0.05, 10_000, 1e-9) == pytest.approx(10_000 / 0.005, rel=0.01)  # about μ²/2
    assert epsilon_of(1000.0, 1, 1e-3) == epsilon_of(1.0, 0, 1e-5) == 0


@pytest.mark.parametrize('epsilon', [0.1, 1.0, 8.0, 50.0])
def test_the_noise_for_an_epsilon_has_that_epsilon(epsilon):
    z = multiplier_for(epsilon, 1e-5)
    textbook = math.sqrt(2 * math.log(1.25e5)) / epsilon
    assert epsilon_of(z, 1, 1e-5) == pytest.approx(epsilon, rel=1e-9)
    assert (textbook < z) == (epsilon == 50)  # which is why it is not used


# How large the noise is.


@pytest.mark.parametrize('delivered', [4, 2, 1])
def test_noise_has_the_scale_that_theory_wants(grid, start, delivered):
    """Clients that change nothing: what comes out is noise alone, z C / K over those that were drawn."""
    strategy = bound(private())
    new, told = aggregate(strategy, grid, start, [start] * delivered)
    noise, std = new['backbone.w'].astype(float), 1.5 * 0.5 / 4
    assert told['noise_std'] == pytest.approx(std)
    # The sample's standard deviation has a standard error of std / sqrt(2 n): five of them.
    assert noise.std() == pytest.approx(std, abs=5 * std / math.sqrt(2 * SIZE))
    assert abs(noise.mean()) < 5 * std / math.sqrt(SIZE) and norm.fit(noise / std)[1] == pytest.approx(1, abs=0.02)
    assert np.abs(new['backbone.b'] - 0.25).max() > 0 and told['clipped'] == 0
    assert all(new[name].dtype == np.float32 for name in new)


def test_noise_comes_before_beta(grid, start):
    """From the second aggregated round on, β = 1 halves the noise; put on after the mixing, it would be whole."""
    strategy = bound(private(dict(type='FedVSSL', alpha=0, beta=1, uniform=True)))
    first, _ = aggregate(strategy, grid, start, [start] * 4)
    second, told = aggregate(strategy, grid, first, [first] * 4, number=2)
    assert first['backbone.w'].std() == pytest.approx(0.1875, rel=0.02)
    assert (second['backbone.w'] - first['backbone.w']).std() == pytest.approx(0.1875 / 2, rel=0.02)
    assert told['epsilon'] == epsilon_of(1.5, 2, 1e-5)  # mixing is post-processing


def test_the_result_is_that_of_flowers_server_side_wrapper(grid, start):
    """A second implementation of clipping, mean and noise, which holds all replies."""
    models = [change(start, amount) for amount in (0.1, -0.4, 2.0, 9.0)]
    strategy = bound(private())
    ours, told = aggregate(strategy, grid, start, models)
    flower = DifferentialPrivacyServerSideFixedClipping(FlowerFedAvg(), 1.5, 0.5, 4)
    flower.current_arrays = to_record(start)
    replies = [Message(RecordDict({'arrays': to_record(model), 'metrics': MetricRecord({'num-examples': 1})}),
                       reply_to=Message(RecordDict(), dst_node_id=2, message_type='train')) for model in models]
    with flower_noise(rng.stream_seed(7, 'noise', 1)):
        theirs, _ = flower.aggregate_train(1, replies)
    for name, tensor in to_arrays(theirs).items():
        np.testing.assert_allclose(ours[name], tensor, rtol=0, atol=1e-6)
    assert told['clipped'] == 0.5


def test_one_client_moves_the_average_by_at_most_its_share(grid, start):
    strategy = bound(private(noise_multiplier=0))
    new, told = aggregate(strategy, grid, start, [start, start, start, change(start, 1e6)])
    moved = np.concatenate([(new[name] - start[name]).ravel() for name in start])
    assert np.linalg.norm(moved) == pytest.approx(0.5 / 4, rel=1e-6) and moved[0] > 0
    assert told['clipped'] == 0.25 and 'epsilon' not in told


@pytest.mark.parametrize('inner', [UNIFORM, dict(type='FedVSSL', alpha=0, uniform=True)],
                         ids=lambda inner: inner['type'])
def test_a_client_that_stays_away_moves_the_sum_by_at_most_its_share(grid, start, inner):
    """With all of its videos or none, whatever the others do: three that agree against a fourth that does not."""
    models = [change(start, 0.5)] * 3 + [change(start, -1e6)]
    with_, without = (aggregate(bound(private(inner, noise_multiplier=0)), grid, start, models[:delivered])[0]
                      for delivered in (4, 3))
    assert without['backbone.w'][0] == pytest.approx(3 * 0.5 / 4)  # over K - 1 it would be 0.5
    assert np.linalg.norm(to_vector(with_, without)) == pytest.approx(0.5 / 4, rel=1e-6)
    nobody = bound(private(inner))
    sent = list(nobody.configure_train(1, to_record(start), ConfigRecord({'attempt': 1}), grid))
    assert len(sent) == 4 and nobody.aggregate_train(1, iter([])) == (None, None)


def test_an_update_counts_as_clipped_wherever_it_was(grid, start):
    """Twice on the client, which says so; once on the server, as rounding or a careless client may make it too long."""
    strategy = bound(private(clipping='client'))
    bits = [{'norm_bit': bit} for bit in (1, 1, 0, 0)]
    _, told = aggregate(strategy, grid, start, [change(start, amount) for amount in (0.4, 0.5, 0.6, 0.1)], metrics=bits)
    assert told['clipped'] == 0.75 and 'norm_bit' not in told
    assert strategy.instructions() == {'clipping_norm': 0.5} and private().instructions() == {}


def test_tensors_without_dimensions_are_clipped_and_noised_too(grid):
    start = {'backbone.scale': np.array(1.0, np.float32)}
    quiet, _ = aggregate(bound(private(noise_multiplier=0), clients=2), grid, start, [change(start, 100.0)] * 2)
    assert quiet['backbone.scale'] == pytest.approx(1.5) and quiet['backbone.scale'].shape == ()
    noised, _ = aggregate(bound(private()), grid, start, [start] * 4)
    assert noised['backbone.scale'] != 1


def test_noise_repeats_only_if_it_is_asked_to(grid, start):
    def noise(number=1, seed=7, **arguments):
        return aggregate(bound(private(**arguments), seed=seed), grid, start, [start] * 2, number)[0]['backbone.w']

    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    seeded, secret = noise(), noise(seeded_noise=False)
    assert np.array_equal(seeded, noise()) and np.array_equal(np.random.get_state()[1], before)
    for other in (noise(number=2), noise(seed=8), secret, noise(seeded_noise=False)):
        assert abs(np.corrcoef(seeded, other)[0, 1]) < 0.02
    assert abs(np.corrcoef(secret, noise(seeded_noise=False))[0, 1]) < 0.02
    assert private().reproducible and not private(seeded_noise=False).reproducible


# The clipping norm.


@pytest.mark.parametrize('initial', [0.1, 5.0])
def test_an_adaptive_norm_goes_to_the_quantile(grid, initial):
    start = {'backbone.w': np.zeros(4)}
    strategy = bound(private(noise_multiplier=0, clipping_norm=initial, adaptive=True), clients=5)
    models = [change(start, amount) for amount in (0.5, 0.7, 0.9, 1.1, 1.3)]
    for number in range(1, 61):
        _, told = aggregate(strategy, grid, start, models, number)
    assert 0.85 < strategy.state_dict()['clipping_norm'] < 1.15  # the median is 0.9; a step is e^{±0.1}, or less


def test_an_adaptive_norm_leaves_z_for_both_releases(grid, start):
    """The count's noise is known to everybody, the updates' is larger, and they add up to z."""
    strategy = bound(private(noise_multiplier=1.5, adaptive=True, count_noise=1.0))
    new, told = aggregate(strategy, grid, start, [start] * 4)
    for_updates = 1 / math.sqrt(1.5 ** -2 - 2 ** -2)
    assert new['backbone.w'].std() == pytest.approx(for_updates * 0.5 / 4, rel=0.02)
    assert for_updates ** -2 + (2 * 1.0) ** -2 == pytest.approx(1.5 ** -2)
    assert told['clipping_norm'] == 0.5 and told['epsilon'] == epsilon_of(1.5, 1, 1e-5)
    next_norm = strategy.state_dict()['clipping_norm']
    assert next_norm != 0.5
    assert aggregate(strategy, grid, new, [new] * 4, number=2)[1]['clipping_norm'] == next_norm


def test_the_norm_follows_a_noised_share():
    norm_ = ClippingNorm(1.0, 2.0, adaptive=True, target_quantile=0.75, norm_rate=0.5, count_noise=3.0)
    np.random.seed(5)
    noise = np.random.normal(0, 3.0)
    np.random.seed(5)
    norm_.follow(clipped=2, delivered=7, drawn=10)  # five within, two not, three that are neither
    assert norm_.value == pytest.approx(2.0 * math.exp(-0.5 * ((5 + 3 / 2 + noise) / 10 - 0.75)))
    fixed = ClippingNorm(1.0, 2.0, adaptive=False, target_quantile=0.75, norm_rate=0.5, count_noise=None)
    fixed.follow(clipped=2, delivered=7, drawn=10)
    assert fixed.value == 2.0 and fixed.multiplier == 1.0


@pytest.mark.parametrize('clipped', [0, 3, 6])
def test_one_client_moves_the_count_by_one_half(clipped):
    """The sensitivity that z_Δ goes by: a client comes, and was within the norm, or was not."""
    def count(clipped, delivered):
        norm_ = ClippingNorm(0.0, 1.0, adaptive=True, target_quantile=0.5, norm_rate=1.0, count_noise=None)
        norm_.follow(clipped, delivered, drawn=10)
        return 10 * -math.log(norm_.value)

    assert abs(count(clipped, 7) - count(clipped, 6)) == pytest.approx(0.5)
    assert abs(count(clipped + 1, 7) - count(clipped, 6)) == pytest.approx(0.5)


# What is told.


@pytest.mark.parametrize('inner', [
    UNIFORM, dict(type='FedAvg', uniform=True), dict(type='FedAvgM', uniform=True), dict(type='FedAdam', uniform=True),
    dict(type='FedYogi', uniform=True), dict(type='FedProx', uniform=True, mu=0.1),
    dict(type='FedVSSL', alpha=0, beta=0.5, uniform=True)], ids=lambda inner: inner['type'])
def test_epsilon_is_told_where_its_theory_holds(grid, start, inner, caplog):
    strategy = bound(private(inner, seeded_noise=False))
    _, told = aggregate(strategy, grid, start, [change(start, 0.1)] * 4)
    assert told['epsilon'] == pytest.approx(epsilon_of(1.5, 1, 1e-5)) and told['delta'] == 1e-5
    assert not caplog.records


@pytest.mark.parametrize(('inner', 'reason'), [
    (dict(type='FedAvg'), 'weights clients by their numbers of videos'),
    (dict(type='FedVSSL', alpha=0), 'weights clients by their numbers of videos'),
    (dict(type='FedVSSL', alpha=0.9, uniform=True), 'weights clients by their losses'),
    (dict(type='LDAWA', uniform=True), 'does not take the plain mean'),
    (dict(type='CoordinateMedian'), 'does not take the plain mean'),
    (dict(type='MultiKrum'), 'does not take the plain mean')], ids=lambda value: str(value)[:40])
def test_epsilon_is_refused_where_it_does_not(grid, start, inner, reason, caplog):
    strategy = bound(private(inner, seeded_noise=False), clients=5)
    new, told = aggregate(strategy, grid, start, [change(start, 0.1)] * 5)
    assert not {'epsilon', 'delta'} & told.keys() and new['backbone.w'].std() > 0.1
    warning, = (record.getMessage() for record in caplog.records)
    assert reason in warning and 'no epsilon' in warning


def test_epsilon_is_that_of_the_client_that_was_used_most(grid, start):
    """A client is in no release that it took no part in; without sampling, all clients are in all of them."""
    strategy = bound(private(), clients=6, drawn=2)
    cohorts = [strategy._cohorts.draw(number) for number in range(1, 9)]
    for number in range(1, 9):
        start, told = aggregate(strategy, grid, start, [start] * 2, number)
    most = max(sum(client in cohort for cohort in cohorts) for client in range(6))
    assert most < 8 and told['epsilon'] == epsilon_of(1.5, most, 1e-5)
    state = json.loads(json.dumps(strategy.state_dict()))
    assert sum(state['releases'].values()) == 16
    resumed = bound(private(), clients=6, drawn=2)
    resumed.load_state(state, strategy.state_tensors())
    once, again = (aggregate(which, grid, start, [start] * 2, 9) for which in (strategy, resumed))
    assert once[1] == again[1] and np.array_equal(once[0]['backbone.w'], again[0]['backbone.w'])


def test_unbound_every_node_counts_for_itself(grid, start):
    strategy = private(seeded_noise=False)
    _, told = aggregate(strategy, grid, start, [start] * 8)
    assert told['epsilon'] == epsilon_of(1.5, 1, 1e-5) and set(strategy.state_dict()['releases']) == set(
        map(str, range(2, 10)))
    with pytest.raises(ConfigError, match='seeded_noise.*needs the seed of a run'):
        aggregate(private(), grid, start, [start] * 8)


# On the client.


def question(model, **config):
    return Message(RecordDict({'arrays': to_record(model), 'config': ConfigRecord(config)}),
                   dst_node_id=2, message_type='train')


def trained(model):
    """Returns a training function that answers with a model."""
    return lambda message, context: Message(RecordDict({
        'arrays': to_record(model), 'metrics': MetricRecord({'num-examples': 1})}), reply_to=message)


@pytest.mark.parametrize(('amount', 'norm_', 'bit'), [(3.0, 0.5, 1), (0.25, 0.25, 0), (0.0, 0.0, 0)])
def test_a_client_clips_when_asked(start, amount, norm_, bit):
    message, model = question(start, clipping_norm=0.5), change(start, amount)
    reply = clip_when_asked(message, Contexts(4).of(2), trained(model))
    found = to_arrays(reply.content['arrays'])
    assert np.linalg.norm(to_vector(found, start)) == pytest.approx(norm_, rel=1e-6, abs=1e-100)
    assert reply.content['metrics']['norm_bit'] == bit and list(found) == list(start)
    untouched = clip_when_asked(question(start), Contexts(4).of(2), trained(model))
    assert np.array_equal(to_arrays(untouched.content['arrays'])['backbone.w'], model['backbone.w'])
    assert 'norm_bit' not in untouched.content['metrics']


def test_a_client_that_fails_says_so_through_the_mods(start):
    def fail(message, context):
        return Message(Error(2, 'no such video'), reply_to=message)

    for mod in (clip_when_asked, LocalDP(LocalDPConfig(0.5, 1.0), seed=7)):
        reply = mod(question(start, clipping_norm=0.5), Contexts(4).of(2), fail)
        assert reply.has_error() and reply.error.reason == 'no such video'


def test_vectors_and_tensors_are_the_same_update():
    start = {'a': np.array([[1, 2]], np.float32), 'b': np.array(3.0)}
    trained_ = {'a': np.array([[1.5, 2]], np.float32), 'b': np.array(1.0)}
    vector = to_vector(trained_, start)
    assert vector.tolist() == [0.5, 0, -2] and vector.dtype == np.float64
    back = from_vector(vector, start)
    assert all(np.array_equal(back[n], trained_[n]) and back[n].dtype == trained_[n].dtype for n in start)
    same = to_vector(start, start)
    assert np.linalg.norm(same) > 0 and np.array_equal(from_vector(same, start)['a'], start['a'])


def test_local_noise_has_the_scale_that_theory_wants(start):
    """Twice the norm, since any update may take the place of any other."""
    settings = LocalDPConfig(clipping_norm=0.5, epsilon=2.0, delta=1e-4, seeded_noise=True)

    def noise(partition, number, model=start, **changed):
        mod = LocalDP(LocalDPConfig(**{**vars(settings), **changed}), seed=7)
        reply = mod(question(start, **{'server-round': number}), Contexts(4).of(partition + 2), trained(model))
        return to_arrays(reply.content['arrays'])['backbone.w'].astype(float)

    std = 2 * 0.5 * multiplier_for(2.0, 1e-4)
    first = noise(0, 1)
    assert first.std() == pytest.approx(std, abs=5 * std / math.sqrt(2 * SIZE))
    assert delta_of(2.0, first.std() / (2 * 0.5)) == pytest.approx(1e-4, rel=0.1)
    assert np.array_equal(first, noise(0, 1))
    for other in (noise(1, 1), noise(0, 2), noise(0, 1, seeded_noise=False)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.02
    moved = noise(0, 1, change(start, 1e6))
    assert moved[0] - first[0] == pytest.approx(0.5, rel=1e-5) and np.allclose(moved[1:], first[1:])


# What is refused.


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(noise_multiplier=-0.1), 'noise_multiplier: must be a number of at least 0, not -0.1'),
    (dict(noise_multiplier=math.inf), 'noise_multiplier'), (dict(clipping_norm=0), 'clipping_norm: .*above 0, not 0'),
    (dict(clipping_norm='small'), 'clipping_norm'), (dict(target_delta=0), 'target_delta: .*above 0 and below 1'),
    (dict(target_delta=1.0), 'target_delta'), (dict(clipping='both'), "clipping: must be one of 'server', 'client'"),
    (dict(seeded_noise='yes'), 'seeded_noise: must be True or False'), (dict(adaptive=1), 'adaptive'),
    (dict(adaptive=True, target_quantile=1.5), 'target_quantile: .*between|at most 1'),
    (dict(adaptive=True, norm_rate=0), 'norm_rate'), (dict(adaptive=True, count_noise=-1), 'count_noise'),
    (dict(adaptive=True), r'count_noise: must be above noise_multiplier / 2 = 0.75 .* not None'),
    (dict(adaptive=True, count_noise=0.75), 'count_noise: must be above .* not 0.75'),
    (dict(inner=dict(type='FedAvg', bn='aggregate')), r"strategy\.bn: must be 'local_statistics' or 'local'"),
    (dict(inner=dict(type='FedAvg', clip_norm=1.0)), r'clip_norm: is what clipping_norm is for'),
    (dict(inner=dict(type='CentralDP', strategy=UNIFORM)), "'CentralDP' .* leaves no place"),
    (dict(inner=dict(type='FlowerStrategy', strategy='FedMedian')), "'FlowerStrategy' .* leaves no place"),
    (dict(inner=dict(type='FedAvg', uniform='yes')), 'uniform'),
    (dict(strategy='FedAvg'), r"strategy\.strategy: must be a dict with a type, such as dict\(.*\), not 'FedAvg'"),
    (dict(strategy={}), r'strategy\.strategy: must be a dict with a type.*, not {}'),
    (dict(inner=dict(type='Nothing')), 'Nothing')])
def test_every_argument_is_checked(arguments, message):
    inner = arguments.pop('inner', UNIFORM)
    with pytest.raises(ConfigError, match=message):
        CentralDP(**dict(dict(strategy=inner, noise_multiplier=1.5, clipping_norm=0.5), **arguments))


@pytest.mark.parametrize('settings', [
    dict(strategy=dict(type='FedAvg', clip_norm=1.0)), dict(strategy=dict(type='CentralDP', strategy=UNIFORM)),
    dict(local_dp=dict(clipping_norm=1.0, epsilon=1.0), strategy=dict(type='FedAvg', bn='local'))],
    ids=['clip_norm', 'central', 'local'])
def test_an_update_is_not_measured_from_other_weights_than_it_started_from(tiny_config, settings):
    for wire_dtype in (None, 'bf16'):
        config = tiny_config(**settings, wire_dtype=wire_dtype)
        if wire_dtype is None:
            initial_state(config, build_strategy(config.federation))
            continue
        with pytest.raises(ConfigError, match="federation.wire_dtype: 'bf16' goes with neither clip_norm, CentralDP"):
            initial_state(config, build_strategy(config.federation))


@pytest.mark.parametrize(('arguments', 'key'), [
    (dict(clipping_norm=0.0), 'clipping_norm'), (dict(epsilon=-1.0), 'epsilon'), (dict(epsilon=math.inf), 'epsilon'),
    (dict(delta=0.0), 'delta'), (dict(delta=1.0), 'delta'), (dict(noise=1), 'noise: unknown key'),
    (dict(epsilon='much'), 'epsilon')])
def test_every_value_of_local_dp_is_checked(tiny_config, arguments, key):
    with pytest.raises(ConfigError, match=f'federation.local_dp.{key}'):
        tiny_config(local_dp=dict(clipping_norm=1.0, epsilon=1.0) | arguments)


def test_whole_numbers_cannot_travel(tiny_config, tmp_path, start):
    with pytest.raises(ConfigError, match=r"bn: must be 'local_statistics' .*num_batches_tracked"):
        federate(tiny_config(local_dp=dict(clipping_norm=1.0, epsilon=1.0)), tmp_path, hook=Hook())
    counted = {**start, 'backbone.steps': np.array(3)}
    with pytest.raises(ConfigError, match="'backbone.steps' holds whole numbers"):
        private().shared(counted)
    with pytest.raises(ConfigError, match="'backbone.steps' holds whole numbers"):
        clip_when_asked(question(counted, clipping_norm=1.0), Contexts(4).of(2), trained(counted))


# Whole runs.


def strategy(**arguments):
    return dict(dict(type='CentralDP', strategy=UNIFORM, noise_multiplier=0.05, clipping_norm=0.2, seeded_noise=True),
                **arguments)


@pytest.fixture(scope='module')
def reference(tiny_videos, tmp_path_factory):
    """An uninterrupted private run: final state, record, work directory."""
    work_dir, record = tmp_path_factory.mktemp('private'), Record()
    values = tiny_values(tiny_videos, rounds=2, strategy=strategy())
    return federate(from_dict(values), work_dir, hook=record), record, work_dir


def test_a_private_run_trains_and_tells_epsilon(reference, tiny_config):
    state, record, _ = reference
    told = [metrics['epsilon'] for metrics in record.rounds]
    assert told[0] == epsilon_of(0.05, 1, 1e-5) and told[1] in (epsilon_of(0.05, 1, 1e-5), epsilon_of(0.05, 2, 1e-5))
    assert all(metrics['delta'] == 1e-5 and metrics['clients'] == 2 for metrics in record.rounds)
    assert state.reproducible and all(np.isfinite(tensor).all() for tensor in state.tensors.values())
    config = tiny_config(rounds=2, strategy=strategy())
    initial = initial_state(config, build_strategy(config.federation)).tensors
    # Two rounds of updates of at most C = 0.2, and of noise: z C / K in every number.
    noise = 0.005 * math.sqrt(sum(tensor.size for tensor in initial.values()))
    assert noise < np.linalg.norm(to_vector(state.tensors, initial)) < 2 * (0.2 + 1.1 * noise)


def test_the_log_and_the_console_have_epsilon(tiny_config, tmp_path, capsys):
    federate(tiny_config(rounds=1, strategy=strategy()), tmp_path)
    line, = (json.loads(line) for line in (tmp_path / 'log.jsonl').read_text().splitlines()
             if '"event": "round"' in line)
    assert line['epsilon'] == epsilon_of(0.05, 1, 1e-5) and line['delta'] == 1e-5
    assert line['noise_std'] == pytest.approx(0.05 * 0.2 / 2)
    assert f'epsilon {line["epsilon"]:.4g}' in capsys.readouterr().out


def test_statistics_and_counters_do_not_travel(tiny_config, tmp_path, monkeypatch):
    seen = []
    original = client_module.Client.train

    def spy(self, message, context):
        reply = original(self, message, context)
        seen.append((message.content['arrays'], reply.content['arrays']))
        return reply

    monkeypatch.setattr(client_module.Client, 'train', spy)
    federate(tiny_config(rounds=1, strategy=strategy()), tmp_path, hook=Hook())
    for sent, received in seen:
        assert list(sent) == list(received) and len(sent) == 60
        assert not any('running_' in name or 'num_batches' in name for name in sent)
        assert all(array.dtype == 'float32' for array in (*sent.values(), *received.values()))


@pytest.mark.parametrize('arguments', [dict(), dict(clipping='client', adaptive=True, count_noise=2.0),
                                       dict(strategy=dict(type='FedAdam', uniform=True))], ids=str)
def test_a_resumed_private_run_equals_an_uninterrupted_one(tiny_config, tmp_path, arguments):
    config = tiny_config(rounds=2, strategy=strategy(**arguments))
    whole = federate(config, tmp_path / 'whole', hook=Hook())
    with pytest.raises(RuntimeError, match='planned crash'):
        federate(config, tmp_path / 'broken', hook=StopAfter(1))
    resumed = federate(config, tmp_path / 'broken', resume=True, hook=Hook())
    assert fingerprint(resumed) == fingerprint(whole) and resumed.strategy == whole.strategy
    assert resumed.metrics['epsilon'] == whole.metrics['epsilon']
    if 'adaptive' in arguments:
        assert len({resumed.strategy['clipping_norm'], resumed.metrics['clipping_norm'], 0.2}) == 3


def test_clients_may_clip_themselves_with_the_same_result(reference, tiny_config, tmp_path):
    """Up to the rounding of the clipped weights to single precision; in processes of their own."""
    config = tiny_config(rounds=2, workers=1, strategy=strategy(clipping='client'))
    state = federate(config, tmp_path, hook=Hook())
    for name, tensor in reference[0].tensors.items():
        np.testing.assert_allclose(state.tensors[name], tensor, atol=1e-4)
    assert 'norm_bit' not in state.metrics and state.metrics['clipped'] == reference[0].metrics['clipped']


def test_secret_noise_makes_a_run_that_does_not_repeat_and_says_so(reference, tiny_config, tmp_path):
    state = federate(tiny_config(rounds=2, strategy=strategy(seeded_noise=False)), tmp_path, hook=Hook())
    assert fingerprint(state) != fingerprint(reference[0]) and not state.reproducible
    assert not RoundStore(tmp_path).restore(state).reproducible


def test_a_locally_private_run_trains(tiny_config, tmp_path):
    config = partial(tiny_config, rounds=2, strategy=dict(type='FedVSSL', bn='local_statistics'))
    noise = dict(clipping_norm=0.1, epsilon=200.0)
    once, again = (federate(config(local_dp=noise | dict(seeded_noise=True)), tmp_path / name, hook=Hook())
                   for name in ('once', 'again'))
    assert fingerprint(once) == fingerprint(again) and once.reproducible and len(once.examples) >= 2
    secret = federate(config(local_dp=noise), tmp_path / 'secret', hook=Hook())
    assert fingerprint(secret) != fingerprint(once) and not secret.reproducible
    assert fingerprint(federate(config(), tmp_path / 'open', hook=Hook())) != fingerprint(once)


def test_plain_federated_averaging_is_what_is_left_without_clipping_and_noise(grid, start):
    """A huge norm and no noise: the inner strategy alone."""
    models = [change(start, amount) for amount in (1.0, -3.0, 0.5)]
    ours, _ = aggregate(bound(private(clipping_norm=1e9, noise_multiplier=0), clients=3), grid, start, models)
    plain, _ = aggregate(bound(FedAvg(uniform=True, exchange=['backbone']), clients=3), grid, start, models)
    assert all(np.array_equal(ours[name], plain[name]) for name in start)
