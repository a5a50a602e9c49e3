"""Every argument of every strategy: what is out of its range is refused with its name, value and range."""

import inspect
from pathlib import Path

import pytest

from fedvssl.config import FederationConfig, check_types, load_config
from fedvssl.errors import ConfigError
from fedvssl.federated.server import build_strategy
from fedvssl.registry import STRATEGIES

DEMO = Path(__file__).parent.parent.parent / 'configs/demo'
NAN, INF = float('nan'), float('inf')
SHARES = [-0.1, 1.1, NAN, INF, '0.5', True, None]
DECAYS = [-0.1, 1, 1.5, NAN, '0.5', None]
POSITIVES = [0, -1, NAN, INF, '1', False, None]
NOT_NEGATIVES = [-1e-9, NAN, INF, '1', True, None]
COUNTS = [-1, 1.5, '2', True, None]
OPTIMIZER = dict(learning_rate=POSITIVES)
ADAPTIVE = dict(OPTIMIZER, beta1=DECAYS, beta2=DECAYS, tau=POSITIVES)

COMMON = dict(exchange=['backbone', [1], [''], None], bn=['fedbn', None, ['local']],
              clip_norm=[0, -1, NAN, INF, '1', True])
WRONG = dict(
    FedVSSL=dict(alpha=SHARES, beta=NOT_NEGATIVES, loss_temperature=POSITIVES),
    FedAvg=dict(uniform=[1, None, 'yes']),
    FedAvgM=dict(OPTIMIZER, momentum=DECAYS),
    FedAdam=ADAPTIVE,
    FedYogi=ADAPTIVE,
    FedProx=dict(mu=NOT_NEGATIVES),
    FedU=dict(threshold=NOT_NEGATIVES, divergence=['', 3, None]),
    FedEMA=dict(scale=[-1, '1', True], target=SHARES, divergence=['', 3, None]),
    LDAWA=dict(warmup_rounds=COUNTS),
    CoordinateMedian={},
    TrimmedMean=dict(trim=[0, 0.5, -0.1, NAN, '0.2', True, None]),
    MultiKrum=dict(num_malicious=COUNTS, num_selected=[0, -1, 1.5, '2', True]),
    FlowerStrategy=dict(strategy=['FedAvgg', 'Result', 'Strategy', None, 3, ['FedAvg']],
                        arguments=[3, 'beta=0.2', ['beta']]),
)
REQUIRED = dict(FlowerStrategy=dict(strategy='FedAvg'))
ELSEWHERE = {'CentralDP'}  # tests/federated/test_privacy.py
CASES = [(kind, name, value) for kind, arguments in WRONG.items() for name, values in {**arguments, **COMMON}.items()
         for value in values]


def build(**strategy):
    return build_strategy(FederationConfig(rounds=1, clients_per_round=20, strategy=strategy))


@pytest.mark.parametrize(('kind', 'name', 'value'), CASES)
def test_what_is_out_of_range_is_named(kind, name, value):
    with pytest.raises(ConfigError) as caught:
        build(type=kind, **{**REQUIRED.get(kind, {}), name: value})
    message = str(caught.value)
    assert message.startswith(f'federation.strategy.{name}: ')
    assert repr(value) in message


def test_the_table_has_every_strategy_and_argument():
    assert set(WRONG) | ELSEWHERE == set(STRATEGIES.module_dict)
    for kind, arguments in WRONG.items():
        found = set()
        for owner in inspect.getmro(STRATEGIES.get(kind)):
            parameters = inspect.signature(owner).parameters.values()
            found |= {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
        assert found - {'uniform'} <= {*arguments, *COMMON}, kind


@pytest.mark.parametrize('kind', WRONG)
def test_defaults_and_what_lies_just_within_are_accepted(kind):
    required = REQUIRED.get(kind, {})
    strategy = build(type=kind, **required)
    whole_model = kind in ('FedAvg', 'FedEMA', 'FedU')
    assert strategy.exchange == (() if whole_model else ('backbone',)) and strategy.bn == 'aggregate'
    other = build(type=kind, **required, bn='local', clip_norm=1e-6, exchange=('backbone', 'head'))
    assert other.exchange == ('backbone', 'head') and other.clip_norm == 1e-6


@pytest.mark.parametrize('arguments', [
    dict(type='FedVSSL', alpha=1, beta=0), dict(type='FedAvgM', momentum=0), dict(type='FedAdam', beta1=0, beta2=0.999),
    dict(type='FedProx', mu=0), dict(type='FedU', threshold=0),
    dict(type='FedEMA', scale=0, target=1), dict(type='LDAWA', warmup_rounds=0),
    dict(type='TrimmedMean', trim=0.499), dict(type='MultiKrum', num_malicious=0, num_selected=18)])
def test_the_ends_of_ranges(arguments):
    build(**arguments)


@pytest.mark.parametrize('kind', [*WRONG, *ELSEWHERE])
def test_a_typo_is_met_with_the_nearest_argument(kind):
    name, typo = ('clip_norm', 'clip_nrom') if kind in WRONG else ('clipping_norm', 'clipping_nrom')
    config = load_config(DEMO / 'vcop_fedvssl.py', {'strategy.type': kind, f'strategy.{typo}': 1.0})
    with pytest.raises(ConfigError, match=f"federation.strategy.{typo}: unknown argument of {kind}; did .*'{name}'"):
        check_types(config)


@pytest.mark.parametrize(('strategy', 'needed'), [
    (dict(type='CoordinateMedian'), 3), (dict(type='TrimmedMean', trim=0.2), 5), (dict(type='MultiKrum'), 5),
    (dict(type='FlowerStrategy', strategy='Bulyan', arguments=dict(num_malicious_nodes=1)), 7),
    (dict(type='MultiKrum', num_malicious=3), 9), (dict(type='MultiKrum', num_malicious=1, num_selected=4), 7)])
def test_a_rule_that_could_never_work_is_refused_before_the_run(strategy, needed):
    build_strategy(FederationConfig(rounds=1, clients_per_round=needed, strategy=strategy))
    with pytest.raises(ConfigError, match=rf'federation.clients_per_round: {strategy["type"]} with these arguments '
                                          rf'needs {needed} replies a round, not {needed - 1}'):
        build_strategy(FederationConfig(rounds=1, clients_per_round=needed - 1, strategy=strategy))


@pytest.mark.parametrize(('strategy', 'message'), [
    (dict(strategy='FedTrimmedAvgg'), "strategy: 'FedTrimmedAvgg' is no strategy of .*; did you mean 'FedTrimmedAvg'"),
    (dict(strategy='FedXgbBagging'), "strategy: 'FedXgbBagging' cannot be used here: it aggregates trees"),
    (dict(strategy='FedXgbCyclic'), "strategy: 'FedXgbCyclic' cannot be used here: it aggregates trees"),
    (dict(strategy='DifferentialPrivacyClientSideFixedClipping'), "strategy: .* it wraps .* type='CentralDP'"),
    (dict(strategy='FedTrimmedAvg', arguments=dict(beta=0.7)), "arguments: FedTrimmedAvg refuses {'beta': 0.7}: .*0.5"),
    (dict(strategy='FedTrimmedAvg', arguments=dict(bta=0.1)), "arguments.bta: unknown argument of FedTrimmedAvg; did"),
    (dict(strategy='FedAdam', arguments=dict(eta='0.1')), "arguments.eta: must be a number, not '0.1'"),
    (dict(strategy='FedAdam', arguments=dict(fraction_train=0.5)), r'arguments.fraction_train: is set by the run; see'),
    (dict(strategy='FedAdam', arguments=dict(arrayrecord_key='a')), r'arguments.arrayrecord_key: is set by the run'),
    (dict(strategy='QFedAvg'), 'arguments.client_learning_rate: QFedAvg needs it'),
    (dict(strategy='QFedAvg', arguments=dict(client_learning_rate=0.1, train_loss_key='x')),
     'arguments.train_loss_key: is set by the run'),
    *((dict(strategy=name, arguments={argument: value}), rf'arguments\.{argument}: must be a .*, not {value}')
      for name, argument, value in [
          ('MultiKrum', 'num_nodes_to_select', 0), ('MultiKrum', 'num_nodes_to_select', 1.5), ('FedAdam', 'eta', NAN),
          ('FedAdam', 'eta', -1), ('FedAdam', 'eta', INF), ('FedAdam', 'eta_l', 0), ('FedAdam', 'beta_1', 3),
          ('FedYogi', 'beta_2', 1), ('FedAdagrad', 'tau', 0), ('Krum', 'num_malicious_nodes', -3),
          ('QFedAvg', 'client_learning_rate', 0), ('FedAvgM', 'server_momentum', 1.0),
          ('FedAvgM', 'server_learning_rate', 0), ('FedProx', 'proximal_mu', -1), ('FedTrimmedAvg', 'beta', -0.1)]),
    (dict(strategy='Bulyan', arguments=dict(selection_rule=max)), 'arguments.selection_rule: must be a number'),
])
def test_what_flowers_strategies_cannot_do_here_is_said(strategy, message):
    with pytest.raises(ConfigError, match=f'federation.strategy.{message}'):
        build(type='FlowerStrategy', **strategy)


def test_a_config_may_choose_a_strategy_in_a_section_of_its_own():
    base, leaf = DEMO / 'vcop_fedvssl.py', DEMO / 'strategies/fedprox.py'
    config = load_config(base, {'strategy.type': 'FedAdam', 'strategy.tau': 0.1})
    assert config.federation.strategy == dict(type='FedAdam', tau=0.1) and config.federation.rounds == 24
    check_types(config)
    assert load_config(leaf).federation.strategy == dict(type='FedProx', mu=0.01)
    assert load_config(leaf, {'federation.strategy.mu': 0.5}).federation.strategy == dict(type='FedProx', mu=0.5)
    for key in ('strategy', 'federation.strategy'):
        assert load_config(leaf, {f'{key}.type': 'FedAvg'}).federation.strategy == dict(type='FedAvg')
        assert load_config(base, {f'{key}.type': 'FedAvg'}).federation.strategy == dict(type='FedAvg')
    for wrong in ({'strategy': 'FedAvg'}, {'strategy.mu': 0.1}):
        with pytest.raises(ConfigError, match='strategy: must be a dict with a type, such as FedAvg'):
            load_config(base, wrong)
    with pytest.raises(ConfigError, match='strategy: needs a section federation'):
        load_config(DEMO / 'finetune.py', {'strategy.type': 'FedAvg'})
