"""A map of features: its points are those that were kept, the same seed gives the same map, groups stay together."""

import json
import shutil
import sys

import cv2
import numpy as np
import pytest

from fedvssl.errors import CheckpointError, ConfigError, DataListError
from fedvssl.report.embedding import draw, picture, read_points, require_sklearn, tsne

try:
    require_sklearn()
    SKLEARN = True
except ConfigError:
    SKLEARN = False
needs_sklearn = pytest.mark.skipif(not SKLEARN, reason='scikit-learn is not installed (fedvssl[plots])')


def features_of(searched, task='retrieval'):
    return json.loads((searched / task / 'result.json').read_text())['features']


def groups(seed=0, size=20):
    """Returns vectors of three classes around directions of their own, of any length, and their labels."""
    random, labels = np.random.default_rng(seed), np.repeat(np.arange(3), size)
    vectors = 5 * np.eye(3, 16)[labels] + random.normal(size=(3 * size, 16), scale=0.3)
    return (vectors * random.uniform(0.1, 10, size=(3 * size, 1))).astype(np.float32), labels


@needs_sklearn
def test_groups_stay_together_whatever_their_lengths():
    vectors, labels = groups()
    places = tsne(vectors, perplexity=10)
    assert places.shape == (60, 2) and np.isfinite(places).all()
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, :5]
    assert (labels[nearest] == labels[:, None]).all()


@needs_sklearn
def test_a_seed_gives_the_same_map():
    vectors, _ = groups()
    np.testing.assert_array_equal(tsne(vectors, 10), tsne(vectors, 10))
    assert (tsne(vectors, 10) != tsne(vectors, 10, seed=1)).any()


@needs_sklearn
def test_few_videos_and_vectors_of_zeros():
    assert np.isfinite(tsne(np.eye(5, 8, dtype=np.float32))).all()
    assert np.isfinite(tsne(np.eye(6, 8, dtype=np.float32)[[0, 0, 0, 1, 1, 2]])).all()
    assert np.isfinite(tsne(np.diag([0, 0, 1, 1, 1, 1]).astype(np.float32))).all()  # two vectors without a direction
    with pytest.raises(DataListError, match='4 videos are too few for a map; it takes 5'):
        tsne(np.zeros((4, 8), np.float32))
    with pytest.raises(ConfigError, match='--perplexity: must be positive, not 0'):
        tsne(np.zeros((6, 8), np.float32), 0)


@needs_sklearn
@pytest.mark.parametrize('vectors', [np.zeros((9, 4)), np.ones((9, 4)), np.full((9, 4), np.nan),
                                     np.arange(1, 10)[:, None] * np.ones(4)])
def test_collapsed_features_have_no_map(vectors):
    """With these, scikit-learn's t-SNE ends the process."""
    with pytest.raises(DataListError, match='the 9 vectors have all the same direction'):
        tsne(vectors.astype(np.float32))


@needs_sklearn
def test_features_that_are_almost_alike_keep_their_groups():
    vectors, labels = groups()
    almost = 1000 + 0.01 * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    places = tsne(almost, 10)
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (labels[np.argsort(distances, axis=1)[:, :5]] == labels[:, None]).mean() > 0.9


def test_kept_features_are_read_as_they_were_written(searched):
    key = features_of(searched)['queries']['key']
    points = read_points(searched / 'features', key)
    target = json.loads((searched / 'retrieval/result.json').read_text())['target']
    assert points.labels.tolist() == target and points.vectors.dtype == np.float32
    assert points.vectors.shape == (8, features_of(searched)['queries']['dimension'])


def test_features_that_are_not_there_or_damaged(searched, tmp_path):
    key = features_of(searched)['queries']['key']
    with pytest.raises(ConfigError, match='does not hold the features of this evaluation'):
        read_points(tmp_path, key)
    entry = tmp_path / f'features-{key[:24]}'
    shutil.copytree(searched / 'features' / entry.name, entry)
    with pytest.raises(CheckpointError, match='holds other features'):
        read_points(tmp_path, key[:24] + 'f' * 40)
    content = bytearray((entry / 'features.safetensors').read_bytes())
    content[-1] ^= 1
    (entry / 'features.safetensors').write_bytes(content)
    with pytest.raises(CheckpointError, match='features.safetensors: damaged'):
        read_points(tmp_path, key)


def test_every_class_has_its_colour_and_mark():
    places = np.array([[0, 0], [1, 1], [0, 1]], np.float32)
    image = picture(places, np.array([0, 1, 0]), {}, 'x')
    assert image.shape == (820, 970, 3)
    edge = np.flatnonzero((image.max(axis=-1) < 60).sum(axis=0) > 400)[-1]  # of the frame; beyond is the legend
    for color, total in (((31, 119, 180), 2), ((255, 127, 14), 1)):  # the first two of tab10
        inside = (image[:, :edge] == color).all(axis=-1).astype(np.uint8)
        assert cv2.connectedComponents(inside)[0] - 1 == total
        assert (image[:, edge:] == color).all(axis=-1).any()  # the legend
    wide = picture(np.zeros((101, 2), np.float32), np.arange(101), {}, 'x')
    assert wide.shape == (820, 820 + 4 * 150, 3) and np.ptp(wide[:, -1]) == 0  # the legend is not cut off


@needs_sklearn
def test_of_a_real_evaluation(searched, tool, tmp_path, capsys):
    file = tmp_path / 'tsne.png'
    arguments = ('tsne', searched / 'retrieval', '--features', searched / 'features')
    assert tool(*arguments, '--out', file) == 0
    assert capsys.readouterr().out == f'{file}\n'
    draw(searched / 'retrieval', tmp_path / 'again.png', searched / 'features', 'queries')
    assert file.read_bytes() == (tmp_path / 'again.png').read_bytes()
    assert tool(*arguments, '--of', 'gallery', '--out', tmp_path / 'gallery.png') == 0
    assert file.read_bytes() != (tmp_path / 'gallery.png').read_bytes()
    assert tool(*arguments, '--of', 'galery', '--out', tmp_path / 'x.png') == 2
    assert "--of: " in capsys.readouterr().err


@needs_sklearn
def test_an_evaluation_without_features(evaluation, tmp_path):
    with pytest.raises(DataListError, match='a-7: this evaluation kept no features'):
        draw(evaluation('a-7', dict(top1=1)), tmp_path / 'x.png', tmp_path)


def test_without_scikit_learn(searched, tool, tmp_path, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.partition('.')[0] == 'sklearn']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'sklearn', None)
    assert tool('tsne', searched / 'retrieval', '--features', searched / 'features', '--out', tmp_path / 'x.png') == 2
    assert capsys.readouterr().err.endswith("install it: pip install 'fedvssl[plots]'\n")
    assert not (tmp_path / 'x.png').exists()
