"""Features: what they are, that one extraction serves all, and what becomes of a copy that is damaged."""

import shutil
import threading
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fedvssl.config import from_dict
from fedvssl.data.dataset import build_dataset
from fedvssl.data.loader import collate
from fedvssl.errors import BadVideosError, CheckpointError, ConfigError, DataListError
from fedvssl.evaluation import features as module
from fedvssl.evaluation.feature_store import FeatureStore
from fedvssl.evaluation.features import Extractor, clip_means, clipped, extract, pooled_vectors
from fedvssl.evaluation.labelled import labelled_videos
from fedvssl.models import build_model
from fedvssl.sections import EvaluationConfig
from tests.conftest import tiny_finetuning_values, tiny_values


@pytest.fixture
def config(tiny_videos):
    return from_dict(tiny_finetuning_values(tiny_videos))


@pytest.fixture
def passes(monkeypatch):
    """Counts the passes over videos."""
    counted, original = [], Extractor._pass
    monkeypatch.setattr(Extractor, '_pass', lambda self, *a: counted.append(a[1]) or original(self, *a))
    return counted


def changed(config, **data):
    return replace(config, data=replace(config.data, **data))


def test_the_grid_of_the_published_pooling():
    """Seven rows to three: 0-2, 2-4, 4-6, by hand; two frames and clips stay apart; channels come first."""
    maps = torch.zeros(2, 2, 2, 7, 7)  # one video of two clips, two channels
    maps[0, 1, 1] = torch.arange(7.0)[:, None]
    maps[1, 1, 1] = 10
    vectors = clip_means(pooled_vectors(maps, (2, 3, 3)), 2)
    assert vectors.shape == (1, 36)
    rows = (np.array([1, 3, 5]) + 10) / 2
    assert vectors.view(2, 2, 3, 3)[1, 1].tolist() == [[row] * 3 for row in rows] and vectors[0, :27].sum() == 0
    assert clip_means(pooled_vectors(maps, (1, 1, 1)), 2).tolist() == [[0, (3 + 10) / 2 / 2]]


@pytest.mark.parametrize(('shape', 'grid'), [((2, 7, 7), (2, 3, 3)), ((1, 4, 2), (1, 3, 2)), ((1, 1, 1), (1, 1, 1))])
def test_the_grid_is_no_finer_than_the_maps(shape, grid):
    assert clipped((2, 3, 3), torch.zeros(1, 4, *shape)) == grid


def test_the_published_size():
    vectors = clip_means(pooled_vectors(torch.rand(20, 512, 2, 7, 7), (2, 3, 3)), 10)
    assert vectors.shape == (2, 9216)


def test_a_second_implementation_agrees(config):
    """One clip at a time through the bare backbone; means of slices instead of adaptive pooling."""
    config = replace(changed(config, test_batch_size=3), seed=9)  # 8 videos: the last batch is smaller
    found = extract(config, 'test', 'random')
    model, videos = build_model(config.model, 9).eval(), labelled_videos(config, 'test')
    dataset = build_dataset(config.data, config.data.test, videos, replace_bad=False)
    for index, video in enumerate(videos):
        sample = dataset.load(index, 0, 'features')
        clips = model.data_preprocessor(collate([sample]))['inputs'][0]
        with torch.inference_mode():
            vectors = [model.backbone(clip[None]).mean(dim=(0, 2, 3, 4)) for clip in clips]
        assert len(vectors) == 2 and torch.allclose(found.vectors[index], sum(vectors) / 2, rtol=1e-4, atol=1e-6)
        assert (found.paths[index], int(found.labels[index])) == (video.path, video.label)
    assert found.vectors.std(dim=0).mean() > 1e-3  # the videos differ
    assert found.vectors.dtype == torch.float32 and not found.vectors.is_inference()


def test_one_extraction_serves_all(config, tmp_path, passes):
    first = extract(config, 'train', 'random', (2, 3, 3), tmp_path)
    again = extract(config, 'train', 'random', (2, 3, 3), tmp_path)
    pooled = extract(config, 'train', 'random', (1, 1, 1), tmp_path)
    assert passes == [16] and not first.kept and again.kept and pooled.kept
    assert again.vectors.equal(first.vectors) and again.labels.equal(first.labels)
    assert replace(again, vectors=0, labels=0, kept=False) == replace(first, vectors=0, labels=0)
    assert first.key != pooled.key and first.pool == (1, 1, 1)  # the tiny maps have no more
    extract(config, 'test', 'random', directory=tmp_path)
    assert passes == [16, 8]


def test_two_at_once_extract_once(config, tmp_path, passes):
    found = []
    extractors = [Extractor(config, 'random', tmp_path) for _ in range(2)]
    threads = [threading.Thread(target=lambda make=make: found.append(make('test'))) for make in extractors]
    with FeatureStore(tmp_path).claimed(extractors[0]._facts(labelled_videos(config, 'test'))):
        for thread in threads:
            thread.start()
        threads[0].join(1)
        assert passes == found == []  # somebody else makes them
    for thread in threads:
        thread.join()
    assert passes == [8] and sorted(one.kept for one in found) == [False, True]


@pytest.mark.parametrize('at_once', [1, 3])
def test_the_clips_of_a_batch_go_through_in_parts(config, monkeypatch, at_once):
    """Parts that divide neither a batch (8 videos of 2 clips) nor the clips of a video."""
    whole = extract(config, 'test', 'random', (2, 3, 3))
    monkeypatch.setattr(module, 'CLIPS_AT_ONCE', at_once)
    seen = []
    model = module.build_trainer(config).model
    hook = type(model.backbone).forward
    monkeypatch.setattr(type(model.backbone), 'forward', lambda self, x: seen.append(len(x)) or hook(self, x))
    parts = extract(config, 'test', 'random', (2, 3, 3))
    assert sum(seen) == 16 and max(seen) == at_once
    assert torch.allclose(parts.vectors, whole.vectors, rtol=1e-4, atol=1e-6)


def test_whatever_changes_features_makes_them_anew(config, tiny_videos, tmp_path, passes):
    extract(config, 'test', 'random', directory=tmp_path)
    same = replace(config, evaluation=EvaluationConfig(), optim_wrapper=dict(config.optim_wrapper, type='OptimWrapper'),
                   model=dict(config.model, head=dict(config.model['head'], dropout_ratio=0.1)))
    extract(changed(same, workers=1, quarantine=None, batch_size=7), 'test', 'random', directory=tmp_path)
    assert passes == [8]
    sampler, backbone = dict(config.data.test.sampler, num_clips=3), dict(type='R3D18', base_channels=8)
    preprocessor = dict(type='ClipPreprocessor', mean=[0.0, 0.0, 0.0])
    others = [replace(config, seed=8),  # other initial weights
              changed(config, test=replace(config.data.test, sampler=sampler)),
              changed(config, test=replace(config.data.test, transforms=config.data.test.transforms[::-1])),
              replace(config, model=dict(config.model, backbone=backbone)),
              replace(config, model=dict(config.model, data_preprocessor=preprocessor)),
              replace(config, runtime=replace(config.runtime, threads=2))]
    for number, other in enumerate(others, 2):
        assert not extract(other, 'test', 'random', directory=tmp_path).kept and len(passes) == number


def test_the_files_count_not_where_they_are(config, tiny_videos, tmp_path, passes):
    extract(config, 'test', 'random', directory=tmp_path / 'features')
    shutil.copytree(tiny_videos, tmp_path / 'moved')
    moved = changed(config, root=str(tmp_path / 'moved'))
    extract(moved, 'test', 'random', directory=tmp_path / 'features')
    assert passes == [8]
    one, other = sorted((tmp_path / 'moved/test').glob('*.*'))[:2]
    shutil.copy(other, one)
    extract(moved, 'test', 'random', directory=tmp_path / 'features')
    assert passes == [8, 8]


def entries(directory):
    return sorted(path for path in directory.iterdir() if path.is_dir())


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize('damage', ['flip', 'truncate', 'no vectors', 'no manifest', 'empty'])
def test_a_damaged_entry_is_found_and_made_again(config, tmp_path, passes, caplog, damage):
    whole = extract(config, 'test', 'random', directory=tmp_path)
    for entry in entries(tmp_path):
        file = entry / 'features.safetensors'
        if damage == 'flip':
            flip(file)
        elif damage == 'truncate':
            file.write_bytes(file.read_bytes()[:100])
        elif damage == 'empty':
            shutil.rmtree(entry)
            entry.mkdir()
        else:
            (file if damage == 'no vectors' else entry / 'manifest.json').unlink()
    mended = extract(config, 'test', 'random', directory=tmp_path)
    assert 'these features are extracted again' in caplog.text and not mended.kept
    assert mended.vectors.equal(whole.vectors) and len(passes) == 2
    assert extract(config, 'test', 'random', directory=tmp_path).kept and len(passes) == 2


def test_what_is_not_ours_is_left_alone(config, tmp_path, caplog):
    extract(config, 'test', 'random', directory=tmp_path)
    for entry in entries(tmp_path):
        (entry / 'manifest.json').unlink()
        (entry / 'notes.txt').write_text('mine')
    assert len(extract(config, 'test', 'random', directory=tmp_path)) == 8
    assert 'used, but not kept' in caplog.text
    assert all((entry / 'notes.txt').read_text() == 'mine' for entry in entries(tmp_path))


def test_a_directory_that_cannot_be_written_costs_only_time(config, tmp_path, caplog):
    (tmp_path / 'file').write_text('')
    assert len(extract(config, 'test', 'random', directory=tmp_path / 'file/features')) == 8
    assert 'used, but not kept' in caplog.text


def test_a_lost_video_is_not_kept(config, tiny_videos, tmp_path, losing, passes):
    lost = f'test/{min((tiny_videos / "test").iterdir()).name}'
    losing(lost)
    found = extract(changed(config, max_bad_videos=0.2), 'test', 'random', directory=tmp_path)
    assert list(found.bad) == [lost] and not found.reproducible and not entries(tmp_path)


def test_unreadable_videos_are_left_out_and_counted(config, tiny_videos, tmp_path, passes):
    root = tmp_path / 'videos'
    shutil.copytree(tiny_videos, root)
    spoiled = sorted((root / 'test').iterdir())[3]
    spoiled.write_bytes(b'not a video')
    whole = extract(config, 'test', 'random')
    for _ in range(2):  # from the disk too
        found = extract(changed(config, root=str(root), max_bad_videos=0.2), 'test', 'random', directory=tmp_path)
        assert list(found.bad) == [f'test/{spoiled.name}'] and found.reproducible
        there = [row for row, path in enumerate(whole.paths) if path not in found.bad]
        assert found.paths == [whole.paths[row] for row in there] and found.labels.equal(whole.labels[there])
        # Another batch, other sums: equal but for rounding.
        assert torch.allclose(found.vectors, whole.vectors[there], rtol=1e-4, atol=1e-6)
    assert found.kept
    with pytest.raises(BadVideosError, match='1 of 8 videos were unreadable when their features were extracted'):
        extract(changed(config, root=str(root)), 'test', 'random', directory=tmp_path)


def test_no_video_is_readable(config, tiny_videos, tmp_path):
    shutil.copytree(tiny_videos, tmp_path / 'videos')
    for file in (tmp_path / 'videos/test').iterdir():
        file.write_bytes(b'not a video')
    broken = changed(config, root=str(tmp_path / 'videos'))
    with pytest.raises(BadVideosError, match='8 of 8 videos are unreadable'):
        extract(broken, 'test', 'random')
    with pytest.raises(BadVideosError, match='none of 8 videos is readable'):
        extract(changed(broken, max_bad_videos=1.0), 'test', 'random')


def test_a_checkpoint_is_what_is_used(config, tmp_path):
    model = build_model(config.model, 123)
    save_file(model.state_dict(), tmp_path / 'a.safetensors')
    extractor = Extractor(config, str(tmp_path / 'a.safetensors'))
    assert extractor.weights.startswith('matched 120, missing 0')
    assert extractor('test').vectors.equal(extract(replace(config, seed=123), 'test', 'random').vectors)


@pytest.mark.parametrize(('name', 'shape', 'message'), [
    ('head.fc_cls.weight', (8, 32), "none of its 1 tensors belongs to this backbone, e.g. it has 'head.fc_cls.weight'"),
    ('backbone.conv1.conv.weight', (8, 3, 3, 7, 7), 'is of another model'),
    ('backbone.conv1.conv.weight', (4, 3, 3, 7, 7), 'holds only a part of this backbone'),
])
def test_a_checkpoint_without_this_backbone(config, tmp_path, passes, name, shape, message):
    save_file({name: torch.zeros(shape)}, tmp_path / 'x.safetensors')
    with pytest.raises(CheckpointError, match=message):
        extract(config, 'test', str(tmp_path / 'x.safetensors'), directory=tmp_path / 'features')
    assert not passes and not (tmp_path / 'features').exists()


def test_features_that_are_not_finite_are_refused(config, tmp_path):
    tensors = build_model(config.model, 1).state_dict()
    tensors['backbone.layer4.1.conv2.bn.weight'].fill_(torch.nan)
    save_file(tensors, tmp_path / 'x.safetensors')
    with pytest.raises(CheckpointError, match=r'x.safetensors: makes features of test/.* that are not finite'):
        extract(config, 'test', str(tmp_path / 'x.safetensors'), directory=tmp_path / 'features')
    assert not entries(tmp_path / 'features')


def test_a_pretext_task_is_refused(tiny_videos):
    with pytest.raises(ConfigError, match='model.type: VCOP is a pretext task'):
        extract(from_dict(tiny_values(tiny_videos)), 'test', 'random')


def test_no_test_phase(config):
    with pytest.raises(ConfigError, match='data.test: says how videos are read'):
        extract(changed(config, test=None), 'test', 'random')


def test_an_empty_split(config):
    with pytest.raises(DataListError, match=r"no rows with 'val' in column 'split'; there are: 'test' \(8\)"):
        extract(config, 'val', 'random')


def test_labels_the_config_has_no_class_for(tiny_videos):
    with pytest.raises(DataListError, match=r'annotations.csv:.*: label 4 is out of range; model.head.num_classes = 4'):
        extract(from_dict(tiny_finetuning_values(tiny_videos, num_classes=4)), 'test', 'random')


def test_a_list_without_labels(config, tiny_videos, tmp_path):
    root = tmp_path / 'videos'
    shutil.copytree(tiny_videos, root)
    rows = (root / 'annotations.csv').read_text().splitlines()
    columns = rows[0].split(',')
    keep = [columns.index(name) for name in ('path', 'split')]
    (root / 'annotations.csv').write_text('\n'.join(','.join(row.split(',')[i] for i in keep) for row in rows) + '\n')
    with pytest.raises(DataListError, match='has no label; an evaluation needs them all'):
        extract(changed(config, root=str(root)), 'test', 'random')


def test_the_digest_of_weights_sees_a_single_bit(config):
    model = build_model(config.model, 1)
    before = module.weights_digest(model.backbone)
    assert len(before) == 2 * sha256().digest_size and before == module.weights_digest(model.backbone)
    weight = model.backbone.conv1.conv.weight.data
    weight.view(torch.int32)[0, 0, 0, 0, 0] ^= 1
    assert module.weights_digest(model.backbone) != before
