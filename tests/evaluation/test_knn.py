"""The vote of neighbours, by hand and against a second implementation; chance on noise; what the result says."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fedvssl.config import config_hash, from_dict
from fedvssl.errors import CheckpointError, ConfigError
from fedvssl.evaluation.knn import class_votes, evaluate_knn, knn_classes, ranked_classes
from fedvssl.evaluation.metrics import wilson_interval
from fedvssl.evaluation.neighbours import Neighbours, nearest
from fedvssl.sections import EvaluationConfig
from tests.conftest import tiny_finetuning_values


def test_the_vote_by_hand():
    """T = 0.1: class 2 has exp(9) + exp(8), class 0 exp(9.5); all divided by exp(9.5)."""
    votes = class_votes(torch.tensor([[0.95, 0.9, 0.8]]), torch.tensor([[0, 2, 2]]), 4, 0.1)
    assert votes[0].tolist() == pytest.approx([1, 0, math.exp(-0.5) + math.exp(-1.5), 0], rel=1e-5)
    assert ranked_classes(votes, 5).tolist() == [[0, 2, -1, -1]]
    cooler = class_votes(torch.tensor([[0.95, 0.9, 0.8]]), torch.tensor([[0, 2, 2]]), 4, 1.0)
    assert ranked_classes(cooler, 2).tolist() == [[2, 0]]


def test_a_tiny_temperature_makes_no_infinity():
    votes = class_votes(torch.tensor([[0.9, 0.8], [-0.9, -0.8]]), torch.tensor([[1, 0], [1, 0]]), 2, 1e-5)
    assert votes.isfinite().all() and ranked_classes(votes, 1).tolist() == [[1], [0]]


def test_equal_votes_go_to_the_lower_class():
    votes = class_votes(torch.full((1, 4), 0.5), torch.tensor([[3, 1, 1, 3]]), 5, 0.07)
    assert ranked_classes(votes, 3).tolist() == [[1, 3, -1]]


def test_only_k_of_the_neighbours_vote():
    neighbours = Neighbours(torch.tensor([[0.9, 0.89, 0.88]]), torch.tensor([[2, 0, 1]]))
    labels = torch.tensor([1, 1, 0])
    assert knn_classes(neighbours, labels, 2, 1, 0.1).tolist() == [[0, -1]]
    assert knn_classes(neighbours, labels, 2, 3, 0.1).tolist() == [[1, 0]]


def second_implementation(queries, gallery, labels, num_classes, k, temperature):
    """Returns the predicted class of each query, one query at a time, in float64, the exponentials as they are."""
    predicted = []
    for query in queries.double():
        cosines = F.cosine_similarity(query[None], gallery.double(), dim=1).numpy()
        votes = np.zeros(num_classes)
        for index in np.argsort(-cosines, kind='stable')[:k]:
            votes[labels[index]] += math.exp(cosines[index] / temperature)
        predicted.append(int(votes.argmax()))
    return predicted


@pytest.mark.parametrize(('k', 'temperature'), [(1, 0.07), (20, 0.07), (200, 0.1)])
def test_a_second_implementation_agrees(k, temperature):
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(10, 16, generator=generator)
    labels, target = (torch.randint(10, (n,), generator=generator) for n in (300, 80))
    gallery, queries = (centres[y] + 1.5 * torch.randn(len(y), 16, generator=generator) for y in (labels, target))
    classes = knn_classes(nearest(queries, gallery, k), labels, 10, k, temperature)
    assert classes[:, 0].tolist() == second_implementation(queries, gallery, labels, 10, k, temperature)
    assert 0.3 < float((classes[:, 0] == target).double().mean()) < 1  # neither chance nor trivial


@pytest.mark.parametrize(('k', 'temperature'), [(20, 0.07), (200, 0.1)])
def test_noise_scores_chance(k, temperature):
    classes, n = 10, 3000
    generator = torch.Generator().manual_seed(11)
    gallery, queries = (torch.randn(size, 32, generator=generator) for size in (2000, n))
    labels = torch.arange(2000) % classes
    target = torch.randint(classes, (n,), generator=generator)
    found = knn_classes(nearest(queries, gallery, k), labels, classes, k, temperature)
    for count, share in ((1, 1 / classes), (5, 5 / classes)):
        score = float((found[:, :count] == target[:, None]).any(dim=1).double().mean())
        assert abs(score - share) < 3 * math.sqrt(share * (1 - share) / n), (count, score)


@pytest.fixture(scope='module')
def evaluated(tiny_videos, tmp_path_factory):
    """A result with random weights: config, work directory, and what was returned."""
    work_dir, config = tmp_path_factory.mktemp('knn'), from_dict(tiny_finetuning_values(tiny_videos))
    return config, work_dir, evaluate_knn(config, 'random', work_dir, work_dir / 'features')


@pytest.mark.parametrize(('fraction', 'name'), [(1.0, 'knn'), (0.5, 'knn-modified')])
def test_the_protocols_name_is_for_all_labels(evaluated, tmp_path, monkeypatch, fraction, name):
    config, work_dir, _ = evaluated
    monkeypatch.setattr('fedvssl.evaluation.knn.PUBLISHED', ((5, 0.1), (3, 0.07)))
    config = replace(config, training=replace(config.training, label_fraction=fraction))
    assert evaluate_knn(config, 'random', tmp_path, work_dir / 'features')['protocol']['name'] == name


def test_the_result_says_it_all(evaluated):
    config, work_dir, result = evaluated
    assert json.loads((work_dir / 'result.json').read_text()) == json.loads(json.dumps(result))
    assert (result['task'], result['pretrained'], result['n'], result['gallery']) == ('knn', None, 8, 16)
    assert list(result['measured']) == ['knn200_top1', 'knn200_top5', 'knn20_top1', 'knn20_top5']
    assert [(s['k'], s['used_k'], s['temperature']) for s in result['protocol']['settings']] == [(200, 16, 0.1),
                                                                                                 (20, 16, 0.07)]
    assert result['protocol']['name'] == 'knn-modified'  # its k are not the published ones
    assert result['protocol']['clips']['sampler'] == config.data.test.sampler
    assert result['protocol']['split'] == dict(column='split', gallery='train', queries='test')
    for name, share in result['measured'].items():
        right = result['correct'][name]
        assert share == sum(right) / 8 and result['intervals'][name] == list(wilson_interval(sum(right), 8))
    hits = [int(a == b) for a, b in zip(result['predicted'], result['target'], strict=True)]
    assert hits == result['correct']['knn200_top1']
    assert result['features']['gallery']['dimension'] == 32 and result['reproducible']


def with_evaluation(config, **values):
    return replace(config, evaluation=EvaluationConfig(**values))


def test_a_default_k_beyond_the_gallery_is_clamped_and_said(evaluated, tmp_path, caplog):
    config, work_dir, result = evaluated
    again = evaluate_knn(config, 'random', tmp_path, work_dir / 'features')
    assert 'the gallery has 16 videos: they are all taken for k = 200, 20' in caplog.text
    assert again['measured'] == result['measured'] and again['features']['gallery']['from_disk']


def test_an_explicit_k_beyond_the_gallery_is_refused(evaluated, tmp_path):
    config, work_dir, _ = evaluated
    with pytest.raises(ConfigError, match='evaluation.knn: k = 17 exceeds the gallery, which has 16 videos'):
        evaluate_knn(with_evaluation(config, knn=[[5, 0.1], [17, 0.1]]), 'random', tmp_path / 'new', tmp_path)
    assert not list(tmp_path.iterdir())  # neither extracted nor written
    fits = evaluate_knn(with_evaluation(config, knn=[[16, 0.1], [1, 0.5]]), 'random', tmp_path, work_dir / 'features')
    assert list(fits['measured']) == ['knn16_top1', 'knn16_top5', 'knn1_top1', 'knn1_top5']
    assert fits['measured']['knn1_top5'] == fits['measured']['knn1_top1']  # one neighbour votes for one class


@pytest.mark.parametrize(('knn', 'message'), [
    ([], 'evaluation.knn: must not be empty'),
    ([[20]], r'evaluation.knn: must be pairs .* \[20\] is not'),
    ([20], 'evaluation.knn: must be pairs .* 20 is not'),
    ([[0, 0.1]], 'evaluation.knn: must be pairs'),
    ([[True, 0.1]], 'evaluation.knn: must be pairs'),
    ([[20, 0]], 'evaluation.knn: must be pairs'),
    ([[20, math.inf]], 'evaluation.knn: must be pairs'),
    ([[20, 0.1], [20, 0.07]], r'evaluation.knn: k = \[20\] is there twice'),
    (20, "evaluation.knn: must be of type list, not 20"),
])
def test_settings_are_checked(tiny_videos, knn, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(tiny_finetuning_values(tiny_videos) | dict(evaluation=dict(knn=knn)))


def test_the_section_changes_no_hash(tiny_videos):
    values = tiny_finetuning_values(tiny_videos)
    assert config_hash(from_dict(values)) == config_hash(from_dict(values | dict(evaluation=dict(knn=[(1, 0.1)]))))


def test_an_existing_result_is_never_overwritten(evaluated):
    config, work_dir, _ = evaluated
    with pytest.raises(ConfigError, match='already holds a result.json'):
        evaluate_knn(config, 'random', work_dir)


def test_a_missing_checkpoint(evaluated, tmp_path):
    with pytest.raises(CheckpointError, match='no such checkpoint'):
        evaluate_knn(evaluated[0], str(tmp_path / 'none.pth'), tmp_path)
