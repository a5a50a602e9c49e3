"""Retrieval: R@k by hand and against brute force, what the files say, and lists that would bend the figure."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedvssl.config import from_dict
from fedvssl.errors import BadVideosError, ConfigError, DataListError
from fedvssl.evaluation.features import extract
from fedvssl.evaluation.neighbours import Neighbours, nearest
from fedvssl.evaluation.protocol import FINETUNE, WIDTH
from fedvssl.evaluation.retrieval import evaluate_retrieval, first_hits, recall_at
from fedvssl.sections import EvaluationConfig
from tests.conftest import tiny_finetuning_values


def test_ranks_by_hand():
    labels = torch.tensor([0, 1, 2, 1])
    neighbours = Neighbours(torch.zeros(4, 3), torch.tensor([[0, 1, 2], [0, 3, 1], [0, 3, 2], [1, 3, 0]]))
    ranks = first_hits(neighbours, labels, torch.tensor([0, 1, 2, 2]))
    assert ranks.tolist() == [1, 2, 3, 4]  # the last one: not among the three
    assert [recall_at(ranks, k) for k in (1, 2, 3)] == [0.25, 0.5, 0.75]


@pytest.mark.parametrize('chunks', [{}, dict(gallery_chunk=17, query_chunk=9)])
def test_brute_force_agrees(chunks):
    random = np.random.default_rng(2)
    labels, targets = random.integers(6, size=90), random.integers(6, size=40)
    gallery, queries = (random.normal(size=(len(y), 30)) + 0.4 * np.eye(6, 30)[y] for y in (labels, targets))
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(gallery, axis=1)
    cosines = queries @ gallery.T / lengths
    found = nearest(*(torch.from_numpy(x).float() for x in (queries, gallery)), 50, **chunks)
    ranks = first_hits(found, torch.from_numpy(labels), torch.from_numpy(targets))
    for k in (1, 5, 10, 20, 50):
        hits = [(labels[np.argsort(-row)[:k]] == target).any() for row, target in zip(cosines, targets, strict=True)]
        assert recall_at(ranks, k) == np.mean(hits)
    assert recall_at(ranks, 1) < recall_at(ranks, 5) < recall_at(ranks, 20)


def test_a_query_that_is_in_the_gallery_finds_itself():
    gallery = torch.randn(500, 64, generator=torch.Generator().manual_seed(1))
    found = nearest(3 * gallery, gallery, 1)  # its length does not matter
    assert found.indices[:, 0].tolist() == list(range(500))
    assert recall_at(first_hits(found, torch.arange(500), torch.arange(500)), 1) == 1


@pytest.fixture(scope='module')
def evaluated(tiny_videos, tmp_path_factory):
    """A result with random weights: config, work directory, and what was returned."""
    work_dir, config = tmp_path_factory.mktemp('retrieval'), from_dict(tiny_finetuning_values(tiny_videos))
    return config, work_dir, evaluate_retrieval(config, 'random', work_dir, work_dir / 'features')


def test_the_result_says_it_all(evaluated):
    config, work_dir, result = evaluated
    assert json.loads((work_dir / 'result.json').read_text()) == json.loads(json.dumps(result))
    assert (result['task'], result['pretrained'], result['n'], result['gallery']) == ('retrieval', None, 8, 16)
    assert list(result['measured']) == ['recall1', 'recall5', 'recall10', 'recall20', 'recall50']
    assert result['measured']['recall20'] == result['measured']['recall50'] == 1  # the whole gallery
    protocol = result['protocol']
    assert (protocol['recall_at'], protocol['used_k']) == ([1, 5, 10, 20, 50], [1, 5, 10, 16, 16])
    assert (protocol['wanted_pool'], protocol['pool'], protocol['name']) == ([2, 3, 3], [1, 1, 1], 'retrieval')
    for name, share in result['measured'].items():
        assert share == sum(result['correct'][name]) / 8 and name in result['intervals']


def test_who_was_found_is_written(evaluated):
    config, work_dir, result = evaluated
    queries = json.loads((work_dir / result['neighbours']).read_text())['queries']
    gallery, asking = (extract(config, split, 'random', (2, 3, 3), work_dir / 'features')
                       for split in ('train', 'test'))
    found = nearest(asking.vectors, gallery.vectors, 10)
    labels = dict(zip(gallery.paths, gallery.labels.tolist(), strict=True))
    assert [query['path'] for query in queries] == asking.paths
    for query, label, places in zip(queries, asking.labels.tolist(), found.indices.tolist(), strict=True):
        assert query['label'] == label
        assert [near['path'] for near in query['neighbours']] == [gallery.paths[place] for place in places]
        assert all(labels[near['path']] == near['label'] for near in query['neighbours'])
        cosines = [near['similarity'] for near in query['neighbours']]
        assert cosines == sorted(cosines, reverse=True)
    ranks = [query['first_hit'] for query in queries]
    for k in (1, 5, 10):
        assert result['correct'][f'recall{k}'] == [int(rank <= k) for rank in ranks]


def test_only_the_published_numbers_get_the_published_name(evaluated, tmp_path, monkeypatch):
    """At the published geometry the tiny gallery is too small, so the lists of numbers stand in for one that is not."""
    config, work_dir, _ = evaluated
    monkeypatch.setattr('fedvssl.evaluation.retrieval.PUBLISHED', (1, 5))
    monkeypatch.setattr('fedvssl.evaluation.retrieval.PUBLISHED_POOL', [1, 1, 1])
    phase = {key: getattr(config.data.test, key) for key in ('sampler', 'transforms', 'independent_clips')}
    clips = json.loads(json.dumps(phase))
    for number, (test, width, name) in enumerate(((clips, 4, 'fedvssl-retrieval'), (FINETUNE['test'], 4, 'retrieval'),
                                                  (clips, 64, 'retrieval'))):
        monkeypatch.setitem(WIDTH, 'base_channels', width)
        monkeypatch.setattr('fedvssl.evaluation.retrieval.FINETUNE', dict(test=test))
        result = evaluate_retrieval(config, 'random', tmp_path / str(number), work_dir / 'features')
        assert result['protocol']['name'] == name


def test_a_k_beyond_the_gallery(evaluated, tmp_path, caplog):
    config, work_dir, _ = evaluated
    evaluate_retrieval(config, 'random', tmp_path / 'default', work_dir / 'features')
    assert 'the gallery has 16 videos: they are all taken for k = 20, 50' in caplog.text
    explicit = replace(config, evaluation=EvaluationConfig(recall_at=[1, 17]))
    with pytest.raises(ConfigError, match='evaluation.recall_at: k = 17 exceeds the gallery, which has 16 videos'):
        evaluate_retrieval(explicit, 'random', tmp_path / 'explicit', tmp_path / 'none')
    assert not (tmp_path / 'explicit').exists() and not (tmp_path / 'none').exists()


def test_queries_of_the_gallery_are_said(evaluated, tmp_path, caplog):
    config, work_dir, _ = evaluated
    config = replace(config, data=replace(config.data, test=replace(config.data.test, split='train')))
    result = evaluate_retrieval(config, 'random', tmp_path, work_dir / 'features')
    assert result['measured']['recall1'] == 1 and result['shared_videos'] == 16
    assert '16 of 16 queries are in the gallery too' in caplog.text


def test_fewer_labels_make_a_smaller_gallery(tiny_videos, evaluated, tmp_path):
    config = from_dict(tiny_finetuning_values(tiny_videos, label_fraction=0.5))
    result = evaluate_retrieval(config, 'random', tmp_path, evaluated[1] / 'features')
    assert (result['gallery'], result['n'], result['protocol']['label_fraction']) == (8, 8, 0.5)
    assert result['features']['gallery']['from_disk']


def without(root, target, split, label):
    """Copies a set of videos less the rows of one class in one split."""
    shutil.copytree(root, target)
    header, *rows = (target / 'annotations.csv').read_text().splitlines()
    columns = header.split(',')
    kept = [row for row in rows if dict(zip(columns, row.split(','), strict=True))['split'] != split
            or int(dict(zip(columns, row.split(','), strict=True))['label']) != label]
    assert len(kept) < len(rows)
    (target / 'annotations.csv').write_text('\n'.join([header, *kept]) + '\n')
    return from_dict(tiny_finetuning_values(target))


@pytest.mark.parametrize(('split', 'message'), [
    ('test', r"1 of 8 classes of the gallery \(split 'train'\) are missing from the queries \(split 'test'\): 3; take "
             r'these 2 videos out'),
    ('train', r"1 of 8 classes of the queries \(split 'test'\) are missing from the gallery \(split 'train'\): 3; take "
              r'these 1 videos out'),
])
def test_both_splits_must_have_the_same_classes(tiny_videos, tmp_path, split, message):
    config = without(tiny_videos, tmp_path / 'videos', split, 3)
    with pytest.raises(DataListError, match=message):
        evaluate_retrieval(config, 'random', tmp_path / 'run', tmp_path / 'features')
    assert not (tmp_path / 'run').exists() and not (tmp_path / 'features').exists()


def test_an_empty_split(evaluated, tmp_path):
    config = evaluated[0]
    config = replace(config, data=replace(config.data, train=replace(config.data.train, split='val')))
    with pytest.raises(DataListError, match="no rows with 'val'"):
        evaluate_retrieval(config, 'random', tmp_path / 'run')


def test_a_class_of_which_nothing_can_be_read(tiny_videos, tmp_path, caplog):
    root = tmp_path / 'videos'
    shutil.copytree(tiny_videos, root)
    config = from_dict(tiny_finetuning_values(root))
    lost = [path for path, label in zip(*(getattr(extract(config, 'train', 'random'), name) for name in
                                          ('paths', 'labels')), strict=True) if label == 5]
    for path in lost:
        (root / path).write_bytes(b'not a video')
    with pytest.raises(BadVideosError, match='2 of 16 videos are unreadable'):
        evaluate_retrieval(config, 'random', tmp_path / 'run')
    config = replace(config, data=replace(config.data, max_bad_videos=0.2))
    result = evaluate_retrieval(config, 'random', tmp_path / 'run')
    assert 'no video of 1 classes could be read for the gallery: 1 queries cannot be right' in caplog.text
    assert sorted(result['bad_videos']) == sorted(lost) and result['gallery'] == 14
    assert result['measured']['recall50'] == 7 / 8


@pytest.mark.parametrize(('values', 'message'), [
    (dict(recall_at=[]), 'evaluation.recall_at: must not be empty'),
    (dict(recall_at=[1, 0]), 'evaluation.recall_at: must be integers of at least 1'),
    (dict(recall_at=[1.5]), 'evaluation.recall_at: must be integers of at least 1'),
    (dict(recall_at=[5, 5]), r'evaluation.recall_at: k = \[5\] is there twice'),
    (dict(retrieval_pool=[3, 3]), 'evaluation.retrieval_pool: must be three integers of at least 1'),
    (dict(retrieval_pool=[2, 3, 0]), 'evaluation.retrieval_pool: must be three integers of at least 1'),
    (dict(recal_at=[5]), "evaluation.recal_at: unknown key; did you mean 'recall_at'"),
])
def test_settings_are_checked(tiny_videos, values, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(tiny_finetuning_values(tiny_videos) | dict(evaluation=values))
