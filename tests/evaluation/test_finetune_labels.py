"""Which videos a share of the labels is, and what head and lists must have in common."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from fedvssl.config import config_hash, from_dict, identity
from fedvssl.data.annotations import Video, list_digest
from fedvssl.errors import ConfigError
from fedvssl.evaluation.finetune import finetune
from fedvssl.evaluation.labels import label_subset
from fedvssl.pretraining import pretrain
from fedvssl.training.hooks import Hook
from tests.conftest import tiny_finetuning_values, tiny_values

SIZES = {0: 40, 1: 7, 2: 1, 3: 15}
VIDEOS = [Video(f'class{label}/{index:03d}.avi', label, {}, 0)
          for label, size in SIZES.items() for index in range(size)]


def paths(videos):
    return {video.path for video in videos}


@pytest.mark.parametrize(('fraction', 'sizes'), [
    (1, SIZES), (0.5, {0: 20, 1: 4, 2: 1, 3: 8}), (0.1, {0: 4, 1: 1, 2: 1, 3: 2}), (1e-9, {0: 1, 1: 1, 2: 1, 3: 1})])
def test_each_class_keeps_its_share_and_at_least_one(fraction, sizes):
    """3.5 and 7.5 videos are rounded to the even number, 0.7 and 0.0 to one."""
    kept = label_subset(VIDEOS, fraction, seed=7)
    assert Counter(video.label for video in kept) == sizes
    assert kept == [video for video in VIDEOS if video in kept]  # in the order of the list


def test_more_labels_contain_fewer():
    kept = [paths(label_subset(VIDEOS, fraction, seed=7)) for fraction in (0.01, 0.1, 0.25, 0.3, 0.5, 0.9, 1)]
    assert all(few <= more for few, more in zip(kept, kept[1:], strict=False))
    assert len(kept[0]) < len(kept[3]) < len(kept[-1]) == len(VIDEOS)


def test_the_seed_decides_and_the_order_of_the_list_does_not():
    kept = label_subset(VIDEOS, 0.25, seed=7)
    assert paths(label_subset(VIDEOS[::-1], 0.25, seed=7)) == paths(kept) != paths(label_subset(VIDEOS, 0.25, seed=8))
    assert list_digest(kept) == list_digest(kept[::-1]) != list_digest(label_subset(VIDEOS, 0.25, seed=8))
    positions = [[int(path[7:10]) for path in paths(kept) if path.startswith(f'class{label}/')] for label in (0, 3)]
    assert sorted(positions[0]) != list(range(10))  # drawn, not the first ones
    assert sorted(positions[0])[:4] != sorted(positions[1])  # each class by a draw of its own


def test_every_video_has_the_same_chance():
    counts = Counter(path for seed in range(400) for path in paths(label_subset(VIDEOS, 0.25, seed)))
    drawn = [counts[video.path] for video in VIDEOS if video.label == 0]  # mean 100, standard deviation 8.7
    assert min(drawn) > 60 and max(drawn) < 140


@pytest.mark.parametrize('fraction', [0, 0.0, -0.1, 1.01, float('nan')])
def test_a_share_out_of_range(tmp_path, fraction):
    with pytest.raises(ConfigError, match='training.label_fraction: is a share above 0 and up to 1'):
        from_dict(tiny_finetuning_values(tmp_path, label_fraction=fraction))


def test_a_config_without_it_keeps_its_hash(tmp_path):
    """Work directories of before there was such a field can be continued."""
    plain, all_labels, tenth = (from_dict(tiny_finetuning_values(tmp_path, **training)) for training in (
        {}, dict(label_fraction=1.0), dict(label_fraction=0.1)))
    assert identity(plain)['training'] == dict(epochs=2, evaluate_every=1)
    assert config_hash(plain) == config_hash(all_labels) != config_hash(tenth)
    assert identity(tenth)['training']['label_fraction'] == 0.1


def test_half_the_labels_train_half_the_videos(tiny_videos, tmp_path):
    config = from_dict(tiny_finetuning_values(tiny_videos, epochs=1, label_fraction=0.5))
    result = finetune(config, tmp_path, None, Hook())
    assert result['train_videos'] == result['train_labels']['videos'] == 8 and result['n'] == 8
    assert result['read_by'] == dict(pyav=8 + 8) and result['protocol']['label_fraction'] == 0.5
    listed = [Video(row.split(',')[0], int(row.split(',')[1]), {}, 0)
              for row in (tiny_videos / 'annotations.csv').read_text().splitlines()[1:] if row.startswith('train/')]
    assert result['train_labels']['sha256'] == list_digest(label_subset(listed, 0.5, config.seed))
    assert json.loads((tmp_path / 'result.json').read_text())['config']['training']['label_fraction'] == 0.5


def test_pretraining_has_no_labels_to_take_a_share_of(tiny_videos, tmp_path):
    config = from_dict(tiny_values(tiny_videos) | dict(training=dict(epochs=1, label_fraction=0.1)))
    with pytest.raises(ConfigError, match='training.label_fraction: is 0.1, but pretraining reads no labels'):
        pretrain(config, tmp_path / 'run', hook=Hook())
    assert not (tmp_path / 'run').exists()


def test_a_head_with_more_outputs_than_there_are_classes(tiny_videos, tmp_path):
    config = from_dict(tiny_finetuning_values(tiny_videos, num_classes=20))
    with pytest.raises(ConfigError, match=r'model.head.num_classes: is 20, but .*annotations.csv have 8 classes: none '
                                          r'is labelled 8, 9, 10, 11, 12, 13, 14, 15, 16, 17 or 2 more;'):
        finetune(config, tmp_path / 'run', None, Hook())
    with pytest.raises(ConfigError, match=r'num_classes: is 9, .* have 8 classes: none is labelled 8; give it'):
        finetune(replace(config, model=config.model | dict(head=dict(config.model['head'], num_classes=9))),
                 tmp_path / 'run', None, Hook())
    assert not (tmp_path / 'run').exists()


def test_one_clients_config_is_for_pretraining(tiny_videos, tmp_path):
    with pytest.raises(ConfigError, match=r'training.client: is for pretraining \(tools/train.py\)'):
        finetune(from_dict(tiny_finetuning_values(tiny_videos, client=0)), tmp_path / 'run', None, Hook())
