"""Monitors change nothing, flag a planted collapse, and are silent where there is none."""

import json
import logging
from hashlib import sha256

import pytest
import torch

from fedvssl.config import check_types, config_hash, from_dict
from fedvssl.errors import ConfigError, DataListError
from fedvssl.evaluation import probe as probe_module
from fedvssl.evaluation.monitors import PretextMonitor
from fedvssl.evaluation.probe import ProbeConfig, choose, copy_of_model, features
from fedvssl.evaluation.watch import Watch
from fedvssl.federated.run import check_run, federate
from fedvssl.federated.strategies.fedavg import FedAvg
from fedvssl.pretraining import pretrain
from fedvssl.training.hooks import Hook
from tests.conftest import tiny_values

PROBE = dict(train='train', test='test', size=8, k=3)
ALL = [dict(type='PretextMonitor', every=1), dict(type='UpdateMonitor', every=1),
       dict(type='RepresentationMonitor', every=1, clips=8, probe=PROBE)]
SGD = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.001, momentum=0.9))


class Record(Hook):
    """Remembers what a run told, and stops it after a round if it is to."""

    def __init__(self, stop_after=None):
        self.info, self.rounds, self.stop_after = {}, {}, stop_after

    def before_run(self, info):
        self.info = info

    def after_round(self, number, metrics):
        self.rounds[number] = metrics
        if number == self.stop_after:
            raise RuntimeError('planned crash')


def config_of(root, monitors=(), **federation):
    return from_dict(tiny_values(root, **federation) | dict(monitors=list(monitors)))


def central_of(root, monitors=()):
    training = dict(epochs=2, batch_size=8, optim_wrapper=SGD)
    return from_dict(tiny_values(root) | dict(training=training, monitors=list(monitors)))


def digest_of(work_dir):
    """Fingerprints all that a run left but its log: weights, states, heads."""
    digest = sha256()
    for file in sorted(work_dir.rglob('*.safetensors')):
        digest.update(str(file.relative_to(work_dir)).encode() + file.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope='module')
def plain(tiny_videos, tmp_path_factory):
    """A run without monitors."""
    work_dir = tmp_path_factory.mktemp('plain')
    federate(config_of(tiny_videos), work_dir, hook=Hook())
    return work_dir


@pytest.mark.parametrize('workers', [0, 1])
def test_a_monitored_run_has_the_same_bits(plain, tiny_videos, tmp_path, workers):
    record = Record()
    federate(config_of(tiny_videos, ALL, workers=workers), tmp_path, hook=record)
    assert digest_of(tmp_path) == digest_of(plain)
    state = json.loads((tmp_path / 'rounds/latest/state.json').read_text())
    assert 'monitor' not in state['metrics'] and set(record.rounds) == {1, 2, 3}
    for metrics in record.rounds.values():
        found = metrics['monitor']
        assert 0 < found['feature_std'] < found['uniform_std'] == pytest.approx(1 / 32 ** 0.5)
        assert 1 < found['rankme'] <= 8 and 1 < found['centred_rank'] <= 8 and 0 <= found['knn'] <= 1
        assert found['chance'] == pytest.approx(1 / 6) and len(found['update_norms']) == 2
    assert record.info['initial_rankme'] != record.rounds[1]['monitor']['rankme']


def test_nothing_is_measured_between_and_nothing_where_nobody_is_named(monkeypatch, tiny_videos, tmp_path):
    built = []
    original = probe_module.build_model
    monkeypatch.setattr(probe_module, 'build_model', lambda *args: built.append(args) or original(*args))
    federate(config_of(tiny_videos), tmp_path / 'plain', hook=Hook())
    assert not built
    record = Record()
    monitors = [dict(type='RepresentationMonitor', every=2, clips=8)]
    federate(config_of(tiny_videos, monitors), tmp_path / 'monitored', hook=record)
    assert len(built) == 3  # initial weights, round 2, and round 3, which is the last
    assert ['monitor' in record.rounds[number] for number in (1, 2, 3)] == [False, True, True]


def test_a_resumed_run_measures_the_same_and_may_have_other_monitors(plain, tiny_videos, tmp_path):
    whole, first, second = Record(), Record(stop_after=1), Record()
    federate(config_of(tiny_videos, ALL), tmp_path / 'whole', hook=whole)
    with pytest.raises(RuntimeError, match='planned crash'):
        federate(config_of(tiny_videos), tmp_path / 'resumed', hook=first)
    federate(config_of(tiny_videos, ALL), tmp_path / 'resumed', resume=True, hook=second)
    assert digest_of(tmp_path / 'resumed') == digest_of(plain)
    assert set(second.rounds) == {2, 3}
    anew = {'seconds': 0, 'at_chance': None}  # for how long a figure has been low is counted anew
    for number, metrics in second.rounds.items():
        assert {**metrics['monitor'], **anew} == {**whole.rounds[number]['monitor'], **anew}
    initial = [{key: value for key, value in record.info.items() if key.startswith('initial_')}
               for record in (whole, second)]
    assert initial[0] == initial[1] and len(initial[0]) == 5


def test_an_epoch_of_one_machine_is_a_round(tiny_videos, tmp_path):
    pretrain(central_of(tiny_videos), tmp_path / 'plain', hook=Hook())
    record = Record()
    pretrain(central_of(tiny_videos, ALL), tmp_path / 'monitored', hook=record)
    assert digest_of(tmp_path / 'plain') == digest_of(tmp_path / 'monitored')
    found = record.rounds[2]['monitor']
    assert found['collapsed'] == [] and 'update_norm' not in found
    n, chance = 16, 1 / 6
    above = (record.rounds[2]['accuracy'] - chance) / (chance * (1 - chance) / n) ** 0.5
    assert found['above_chance'] == pytest.approx(above)


def test_the_hash_does_not_count_them(tiny_videos):
    assert config_hash(config_of(tiny_videos, ALL)) == config_hash(config_of(tiny_videos))


def test_what_is_measured_is_the_commit_of_that_round(tiny_videos, tmp_path):
    config, record = config_of(tiny_videos, ALL), Record()
    federate(config, tmp_path, hook=record)
    videos = choose(config.data, 'test', 8, config.seed, labelled=False)
    assert len(videos) == 8 and all(video.label == -1 for video in videos)
    with copy_of_model(config, tmp_path / 'rounds/round-000002') as model:
        z, _ = features(model, config.data, videos, config.seed)
    unit = z.double() / z.double().norm(dim=1, keepdim=True)
    assert record.rounds[2]['monitor']['feature_std'] == pytest.approx(float(unit.numpy().std(axis=0).mean()))


def test_random_numbers_and_threads_are_as_before(tiny_config):
    torch.manual_seed(11)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    with copy_of_model(tiny_config(), None) as model:
        assert not model.training
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_what_makes_the_task_on_the_device_is_left_out(tiny_videos):
    plain, turned = (tiny_values(tiny_videos) for _ in range(2))
    turned['model']['data_preprocessor']['augments'] = [dict(type='Rotate90')]
    found = []
    for config in map(from_dict, (plain, turned)):
        with copy_of_model(config, None) as model:
            videos = choose(config.data, 'test', 4, 7, labelled=True)
            found.append(features(model, config.data, videos, 7))
    assert torch.equal(found[0][0], found[1][0]) and found[0][0].shape == (4, 32)
    assert found[0][1].tolist() == [video.label for video in videos]


# Collapse.

def to_a_point(tensors):
    """Makes the last block put out ones: its norms' scales are 0, its shortcut's norm adds 1."""
    for part in ('layer4.0.conv2', 'layer4.0.downsample', 'layer4.1.conv2'):
        tensors[f'backbone.{part}.bn.weight'][...] = 0
        tensors[f'backbone.{part}.bn.bias'][...] = part == 'layer4.0.downsample'


def to_a_line(tensors):
    """Makes the first half of the channels equal to the first one, and the others 1."""
    to_a_point(tensors)
    half = len(tensors['backbone.layer4.0.downsample.bn.weight']) // 2
    for name in ('conv.weight', 'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var'):
        tensor = tensors[f'backbone.layer4.0.downsample.{name}']
        tensor[:half] = 3 if name == 'bn.weight' else tensor[0]


@pytest.mark.parametrize(('plant', 'figures'), [(to_a_point, {'feature_std'}), (to_a_line, {'centred_rank'})])
def test_a_planted_collapse_is_flagged_at_the_second_evaluation(monkeypatch, caplog, tiny_videos, tmp_path, plant,
                                                                figures):
    original = FedAvg.update

    def collapsing(self, combined, previous):
        new = dict(original(self, combined, previous))
        if collapsing.round >= 2:
            plant(new)
        collapsing.round += 1
        return new

    collapsing.round = 1
    monkeypatch.setattr(FedAvg, 'update', collapsing)
    record = Record()
    monitors = [dict(type='RepresentationMonitor', every=1, clips=8)]
    with caplog.at_level(logging.WARNING, 'fedvssl'):
        federate(config_of(tiny_videos, monitors, rounds=4, strategy=dict(type='FedAvg')), tmp_path, hook=record)
    low = [set(record.rounds[number]['monitor']['collapsed']) & figures for number in (1, 2, 3, 4)]
    assert low == [set(), set(), figures, figures]
    warnings = [line for line in caplog.messages if 'has been since round 2' in line and 'Look at' in line]
    assert len(warnings) >= 1 and all(line.startswith('round 3: ') for line in warnings)


def test_a_healthy_run_is_silent(caplog, tiny_videos, tmp_path):
    record = Record()
    with caplog.at_level(logging.WARNING, 'fedvssl'):
        federate(config_of(tiny_videos, ALL[1:], rounds=4), tmp_path, hook=record)
    assert not [line for line in caplog.messages if 'workers=0' not in line]
    assert all(metrics['monitor']['collapsed'] == [] for metrics in record.rounds.values())


def test_a_watch_speaks_once_and_again_after_a_relapse(caplog):
    watch = Watch('figure', 1.0, 2, 'look there', grace=4)
    low = [watch.see(number, value) for number, value in enumerate([0, 0, 5, 0, 0, 0, 5, 0, float('nan')], start=1)]
    assert low == [False, False, False, False, True, True, False, False, True]
    assert [line.split(': ')[0] for line in caplog.messages] == ['round 5', 'round 7', 'round 9']
    assert caplog.messages[0] == ('round 5: figure is 0, below 1, and has been since round 4: look there')


# The pretext task against chance.

def pretext(root, **arguments):
    monitor = PretextMonitor(every=1, **arguments)
    config = config_of(root, local_epochs=2)
    monitor.prepare(config, root)
    monitor.before_run(dict(rounds=8))
    return monitor


def test_a_task_that_is_not_learned_is_spoken_of_after_a_quarter_of_the_rounds(caplog, tiny_videos):
    monitor = pretext(tiny_videos, patience=1)
    # 6 classes, 2 epochs of 240 videos: 1/6 + 3 sqrt(5/36/480) = 0.2177.
    accuracies = {1: 0.16, 2: 0.217, 3: 0.218}
    found = {number: monitor.measure(number, {'accuracy': accuracy, 'num-examples': 240})
             for number, accuracy in accuracies.items()}
    assert [found[number]['at_chance'] for number in found] == [False, True, False]
    assert found[2]['above_chance'] == pytest.approx((0.217 - 1 / 6) / (5 / 36 / 480) ** 0.5)
    assert caplog.messages[0].startswith('round 2: pretext accuracy') and 'since round 1' in caplog.messages[0]


def test_a_task_without_classes_has_no_chance_level(tiny_videos):
    monitor = PretextMonitor()
    values = tiny_values(tiny_videos)
    for phase in (values['data']['train'], values['data']['test']):
        phase['sampler'] = dict(type='RandomClipSampler', clip_length=4, num_clips=2)
    monitor.prepare(from_dict(values), tiny_videos)
    monitor.before_run(dict(rounds=10))
    assert monitor.measure(10, {'accuracy': 0.1, 'num-examples': 100}) == {}


def test_an_augmentation_that_makes_the_target_gives_the_classes(tiny_videos):
    values = tiny_values(tiny_videos)
    values['model']['data_preprocessor']['augments'] = [dict(type='Rotate90')]
    monitor = PretextMonitor()
    monitor.prepare(from_dict(values), tiny_videos)
    monitor.before_run(dict(rounds=10))
    assert monitor.measure(10, {'accuracy': 0.1, 'num-examples': 100})['chance'] == 0.25


# The labelled probe.

def test_only_the_probe_reads_labels(tiny_videos):
    data = config_of(tiny_videos).data
    chosen = choose(data, 'train', 8, 7, labelled=True)
    assert len(chosen) == 8 and all(video.label >= 0 for video in chosen)
    assert [video.path for video in chosen] == [video.path for video in choose(data, 'train', 8, 7, labelled=False)]
    assert {video.path for video in chosen} != {video.path for video in choose(data, 'train', 8, 8, labelled=True)}


def test_a_probe_of_its_own_list(tiny_videos, tmp_path):
    """Labels from 1, another column, other rows; and the probe's videos serve spread and rank as well."""
    rows = (tiny_videos / 'annotations.csv').read_text().splitlines()
    fields = [dict(zip(rows[0].split(','), row.split(','), strict=True)) for row in rows[1:]]
    lines = [f'{row["path"]},{int(row["label"]) + 1},{"a" if index % 2 else "b"}' for index, row in enumerate(fields)]
    (tiny_videos / 'probe.csv').write_text('\n'.join(['path,label,part', *lines]) + '\n')
    probe = dict(annotations='probe.csv', split_column='part', label_base=1, train='a', test='b', size=100)
    record = Record()
    monitors = [dict(type='RepresentationMonitor', every=1, clips=0, probe=probe)]
    config = config_of(tiny_videos, monitors, rounds=1)
    federate(config, tmp_path, hook=record)
    there = ProbeConfig(**probe).of(config.data)
    queries = choose(there, 'b', 100, config.seed, labelled=True)
    assert len(queries) == 12 and min(video.label for video in queries) == 0
    assert record.rounds[1]['monitor']['knn'] * 12 == pytest.approx(round(record.rounds[1]['monitor']['knn'] * 12))


@pytest.mark.parametrize(('monitor', 'message'), [
    (dict(type='RankMonitor'), "monitors.0..type: unknown type 'RankMonitor'"),
    (dict(type='UpdateMonitor', evry=3), r"monitors.0..evry: unknown argument.*did you mean 'every'"),
    (dict(type='UpdateMonitor', every=0), 'every must be an integer of at least 1, not 0'),
    (dict(type='RepresentationMonitor', clips=0), 'clips: must be positive, or 0 with a probe'),
    (dict(type='RepresentationMonitor', probe=dict(siez=3)), 'probe.siez: unknown key; did you mean .size.'),
    (dict(type='RepresentationMonitor', probe=dict(test='train')), 'probe.test: must be another split'),
    (dict(type='PretextMonitor', grace=2.0), 'PretextMonitor.grace: is a share'),
])
def test_what_is_wrong_with_a_config_is_said_before_the_run(tiny_videos, monitor, message):
    config = config_of(tiny_videos, [monitor])
    with pytest.raises(ConfigError, match=message):
        check_types(config)
        check_run(config)


def test_what_is_wrong_with_a_list_is_said_before_the_run(tiny_videos):
    for monitor, message in ((dict(split='tset'), "'tset'"), (dict(probe=dict(train='tarin')), "'tarin'")):
        with pytest.raises(DataListError, match=message):
            check_run(config_of(tiny_videos, [dict(type='RepresentationMonitor', **monitor)]))


@pytest.mark.parametrize(('error', 'reason'), [(DataListError('no such disk'), 'no such disk'),
                                               (RuntimeError('out of memory'), 'RuntimeError: out of memory')])
def test_a_monitor_that_fails_meanwhile_does_not_end_the_run(monkeypatch, caplog, plain, tiny_videos, tmp_path, error,
                                                             reason):
    def failing(*args):
        raise error

    class Failing(Record):
        def before_round(self, number, steps):
            if number == 2:
                monkeypatch.setattr('fedvssl.evaluation.monitors.features', failing)

    record = Failing()
    federate(config_of(tiny_videos, ALL), tmp_path, hook=record)
    assert digest_of(tmp_path) == digest_of(plain)
    assert 'rankme' in record.rounds[1]['monitor'] and 'rankme' not in record.rounds[2]['monitor']
    assert 'update_norm' in record.rounds[2]['monitor']
    assert f'round 2: RepresentationMonitor could not measure: {reason}' in caplog.messages


def test_a_monitor_that_fails_on_a_reply_does_not_cost_it(monkeypatch, caplog, plain, tiny_videos, tmp_path):
    def failing(*args):
        raise ValueError('odd')

    monkeypatch.setattr('fedvssl.federated.updates.UpdateMonitor.after_reply', failing)
    federate(config_of(tiny_videos, ALL), tmp_path)
    assert digest_of(tmp_path) == digest_of(plain)
    assert 'round 1: UpdateMonitor could not measure: ValueError: odd' in caplog.messages


def test_batch_norms_that_stay_with_the_clients(tiny_videos, tmp_path):
    record = Record()
    strategy = dict(type='FedAvg', bn='local', exchange=('backbone',))
    monitors = [dict(type='RepresentationMonitor', every=1, clips=8)]
    config = config_of(tiny_videos, monitors, rounds=1, strategy=strategy)
    federate(config, tmp_path, hook=record)
    assert record.rounds[1]['monitor']['centred_rank'] > 2
    with copy_of_model(config, tmp_path / 'rounds/round-000001') as model:
        norms = [module.training for module in model.modules() if isinstance(module, torch.nn.BatchNorm3d)]
        assert all(norms) and len(norms) == 20 and not model.head.training
