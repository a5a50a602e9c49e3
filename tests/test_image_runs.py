"""Images through whole runs: every method federated, in one place, resumed, and what was learned."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from fedvssl.cli import run_tool
from fedvssl.config import check_types, from_dict
from fedvssl.errors import DataListError
from fedvssl.evaluation.finetune import finetune
from fedvssl.evaluation.knn import evaluate_knn
from fedvssl.evaluation.linear import linear_probe
from fedvssl.evaluation.retrieval import evaluate_retrieval
from fedvssl.federated.run import federate
from fedvssl.models import build_model
from fedvssl.pretraining import pretrain
from fedvssl.state import HeadStore
from fedvssl.training.hooks import Hook
from tests.conftest import image_values
from tests.models.test_every_image_method import METHODS
from tests.models.test_every_image_method import config as method


def weights(work_dir):
    return load_file(work_dir / 'rounds/latest/global.safetensors')


@pytest.mark.parametrize('name', METHODS)
def test_every_method_federated(name, tmp_path):
    """Two clients, two rounds: the model moves, what is a client's own never travels, and stays on its disk."""
    values = image_values(method(name))
    values['federation']['evaluate_every'] = 2
    config = from_dict(values).federated()
    check_types(config)
    state = federate(config, tmp_path, hook=Hook())
    model, shared = build_model(config.model, config.seed), weights(tmp_path)
    assert state.round == 2 and 0 <= state.metrics['test_accuracy'] <= 1
    parts = {key.split('.')[0] for key in shared}
    assert 'backbone' in parts and 'neck' in parts and not parts & model.client_local
    initial = {key: value.numpy() for key, value in model.state_dict().items()}
    assert not np.array_equal(shared['backbone.features.0.weight'], initial['backbone.features.0.weight'])
    assert all(np.isfinite(tensor).all() for tensor in shared.values())
    for client in range(2):
        kept = HeadStore(tmp_path, client)
        assert ({key.split('.')[0] for key in kept.load(2)} if kept.newest() >= 0 else set()) == model.client_local


def test_identical_clients_average_to_themselves(tmp_path):
    """With one client FedAvg is the identity: after one round the global model is what the client sent, BN included."""
    values = image_values(partition=dict(type='IIDPartitioner', num_clients=1))
    values['federation'] |= dict(rounds=1, clients_per_round=1)
    config = from_dict(values)
    federate(config.federated(), tmp_path / 'one', hook=Hook())
    values['training'] = dict(epochs=1)
    central = pretrain(from_dict(values), tmp_path / 'central', hook=Hook())
    one = weights(tmp_path / 'one')
    assert one.keys() == central.tensors.keys() and all(np.isfinite(tensor).all() for tensor in one.values())
    counters = [key for key in one if key.endswith('num_batches_tracked')]
    assert counters and all(one[key] == central.tensors[key] and one[key].dtype == np.int64 for key in counters)


@pytest.mark.parametrize('workers', [1, 2])
def test_workers_change_nothing(workers, tmp_path):
    for place, number in (('here', 0), ('there', workers)):
        values = image_values()
        values['federation']['workers'] = number
        federate(from_dict(values).federated(), tmp_path / place, hook=Hook())
    here, there = weights(tmp_path / 'here'), weights(tmp_path / 'there')
    assert all(np.array_equal(here[key], there[key]) for key in here)


@pytest.mark.parametrize('name', ['SimCLR', 'BYOL'])
def test_a_resumed_run_has_the_same_bits(name, tmp_path):
    config = from_dict(image_values(method(name)) | dict(training=dict(epochs=3)))
    whole = pretrain(config, tmp_path / 'whole', hook=Hook())

    class Stop(Hook):
        def after_round(self, number, metrics):
            if number == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / 'cut', hook=Stop())
    cut = pretrain(config, tmp_path / 'cut', resume=True, hook=Hook())
    assert all(np.array_equal(whole.tensors[key], cut.tensors[key]) for key in whole.tensors)


@pytest.fixture
def classifier(tmp_path):
    """A config that evaluates, and a run whose backbone is evaluated."""
    pretrain(from_dict(image_values()), tmp_path / 'simclr', hook=Hook())
    values = image_values(dict(type='ImageClassifier', backbone=dict(type='Conv4', width=4),
                               head=dict(type='ImageHead', num_classes=8),
                               data_preprocessor=dict(type='ImagePreprocessor', views='crop', test_views=[[]])))
    values.pop('federation')
    return from_dict(values), str(tmp_path / 'simclr')


def test_neighbours_linear_probe_and_fine_tuning(classifier, tmp_path):
    config, source = classifier
    knn = evaluate_knn(config, source, tmp_path / 'knn', tmp_path / 'features')
    found = evaluate_retrieval(config, source, tmp_path / 'retrieval', tmp_path / 'features')
    linear = linear_probe(config, tmp_path / 'linear', source, 'cached', Hook(), tmp_path / 'features')
    tuned = finetune(config, tmp_path / 'tuned', source, Hook())
    assert [result['n'] for result in (knn, found, linear, tuned)] == 4 * [16]
    assert {knn['pretrained_sha256'], found['pretrained_sha256'], linear['pretrained_sha256'],
            tuned['pretrained_sha256']} == {knn['pretrained_sha256']}
    assert found['features']['gallery']['from_disk'] and found['protocol']['name'] == 'retrieval'
    assert tuned['task'] == 'finetune' and all(0 <= value <= 1 for value in tuned['measured'].values())


def test_a_query_that_is_also_in_the_gallery_finds_itself(classifier, tmp_path):
    config, source = classifier
    config = replace(config, data=replace(config.data, test=replace(config.data.test, split='train')))
    assert evaluate_retrieval(config, source, tmp_path / 'retrieval')['measured']['recall1'] == 1


def test_features_of_other_pixels_are_others(classifier, tmp_path):
    config, source = classifier
    first = evaluate_knn(config, source, tmp_path / 'first', tmp_path / 'features')
    other = replace(config, data=replace(config.data, images=dict(config.data.images, seed=1)))
    second = evaluate_knn(other, source, tmp_path / 'second', tmp_path / 'features')
    assert not second['features']['gallery']['from_disk']
    assert first['features']['gallery']['key'] != second['features']['gallery']['key']


def test_monitors_watch_images_and_change_nothing(tmp_path):
    monitors = [dict(type='PretextMonitor', every=1), dict(type='UpdateMonitor', every=1),
                dict(type='RepresentationMonitor', every=1, clips=16, probe=dict(train='train', test='test', size=16,
                                                                                  k=3))]

    class Record(Hook):
        seen: list = []

        def after_round(self, number, metrics):
            self.seen.append(metrics['monitor'])

    hook = Record()
    watched = from_dict(image_values() | dict(monitors=monitors)).federated()
    check_types(watched)
    federate(watched, tmp_path / 'watched', hook=hook)
    federate(from_dict(image_values()).federated(), tmp_path / 'alone', hook=Hook())
    one, other = weights(tmp_path / 'watched'), weights(tmp_path / 'alone')
    assert all(np.array_equal(one[key], other[key]) for key in one)
    flat = json.dumps(hook.seen[-1])
    assert len(hook.seen) == 2 and 'knn' in flat and 'rank' in flat and 'cosine' in flat and 'error' not in flat


@pytest.mark.parametrize(('tool', 'arguments'), [('browse.py', []), ('doctor.py', ['data'])])
def test_tools_for_videos_say_that_these_are_images(tool, arguments, monkeypatch, capsys):
    root = Path(__file__).parent.parent
    monkeypatch.setattr(sys, 'argv', [tool, *arguments, str(root / 'configs/demo/simclr_images.py')])
    code = run_tool(runpy.run_path(str(root / 'tools' / tool))['main'])
    assert code == 2 and 'error: data.images: ' in capsys.readouterr().err


def test_labels_count_for_supcon_alone(tmp_path):
    """Another seed of the set's labels would change SupCon; SimCLR's bits depend on none (they are withheld)."""
    model = build_model(method('SupCon'), 7)
    assert model.needs_labels and not build_model(method('SimCLR'), 7).needs_labels
    with pytest.raises(DataListError, match='no such split|splits train and test'):
        pretrain(from_dict(image_values(method('SupCon'), train=dict(split='dev'))), tmp_path, hook=Hook())
    assert torch.is_grad_enabled()
