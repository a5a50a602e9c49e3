"""Every config that is shipped is valid, and says what it is."""

from pathlib import Path

import pytest

from fedvssl.compare.loading import load_comparison
from fedvssl.compare.plan import plan
from fedvssl.config import check_types, differences, identity, load_config
from fedvssl.models import PastePatches, build_model

ROOT = Path(__file__).parent.parent
COMPARISONS = sorted([*(ROOT / 'configs/compare').glob('*.py'), ROOT / 'configs/demo/compare.py'])
LEAVES = sorted(file for file in (ROOT / 'configs').rglob('*.py')
                if '_base_' not in file.parts and file not in COMPARISONS)
PIECES = sorted(file for file in (ROOT / 'configs/_base_').rglob('*.py'))


@pytest.mark.parametrize('file', LEAVES, ids=lambda file: str(file.relative_to(ROOT)))
def test_leaf(file):
    config = load_config(file, {'data.root': 'videos'} if file.stem.endswith('_folder') else None)
    check_types(config)
    assert config.federation or config.training
    header = file.read_text().split('_base_ =')[0]
    assert header.startswith('#') and f'{file.relative_to(ROOT)}' in header


@pytest.mark.parametrize('file', COMPARISONS, ids=lambda file: str(file.relative_to(ROOT)))
def test_comparison(file, tmp_path):
    """All jobs can be planned; a list of as many videos as it takes stands in for the data."""
    (tmp_path / 'clips').mkdir()
    rows = [f'{person}{index}.mp4,{index},{split},{person}' for index in range(8)
            for split, person in (('train', 'jack'), ('test', 'tom'))]
    (tmp_path / 'clips.csv').write_text('\n'.join(['path,label,split,subject', *rows]))
    comparison = load_comparison(file).only(None, [7])
    options = {'data.root': str(tmp_path / 'clips'), 'data.annotations': '../clips.csv'}
    if 'cifar10' in file.stem:
        options['data.images.type'] = 'GeneratedImages'
    planned = plan(comparison, tmp_path / 'out', options)
    assert sum(job.is_evaluation for job in planned.jobs) >= 2 * len(comparison.settings)
    assert len({budget.epochs for name, budget in planned.budgets.items() if budget.fair != budget.epochs}) == 0
    header = file.read_text().split('seeds =')[0]
    assert f'tools/compare.py {file.relative_to(ROOT)}' in header


def test_the_published_geometry_and_recipe():
    """Figures of the specification, §2, §4.1 and §6.1."""
    pretrain = load_config(ROOT / 'configs/pretrain/video/vcop_r3d18_k400.py')
    model = build_model(pretrain.model, pretrain.seed)
    assert sum(p.numel() for p in model.parameters()) == 33_700_294
    assert pretrain.data.train.sampler == dict(type='VCOPSampler', clip_length=16, num_clips=3, gap=8)
    federation = pretrain.federation
    assert (federation.rounds, federation.clients_per_round, federation.local_epochs) == (540, 5, 1)
    assert pretrain.data.partition == dict(type='ClassBlocksPartitioner', num_clients=100, classes_per_client=8)
    assert pretrain.data.batch_size == 4
    assert pretrain.optim_wrapper['optimizer'] == dict(type='SGD', lr=0.001, momentum=0.0, weight_decay=1e-4)
    finetune = load_config(ROOT / 'configs/downstream/finetune_r3d18_ucf101.py')
    assert finetune.optim_wrapper['optimizer'] == dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4)
    assert finetune.training.epochs == 150 and finetune.data.batch_size == 32
    assert finetune.optim_wrapper['clip_grad']['max_norm'] == pretrain.optim_wrapper['clip_grad']['max_norm'] == 40


# Task: parameters of its head, federated lr, sampler, and what the clip goes through. Specification §4 and §2.
COLOURS = ['Brightness', 'Contrast', 'HueSaturation']
SIZES = [(149, 112), (171, 128), (192, 144)]
JITTERED = dict(type='RandomClipSampler', clip_length=16, stride=[1, 2, 3, 4, 5], jitter=True)
TASKS = {
    'vcop': (534_022, 0.001, dict(type='VCOPSampler', clip_length=16, num_clips=3, gap=8), None, []),
    'speed': (3_591, 0.01, dict(type='SpeedSampler', clip_length=16, strides=[-4, -2, -1, 0, 1, 2, 4]),
              [112, 128, 144], ['Flip', *COLOURS]),
    'ctp': (7_111_744, 0.01, JITTERED, [112, 128, 144], ['Flip']),
    'rot3d': (2_052, 0.01, JITTERED, SIZES, ['Flip', *COLOURS]),
    'moco': (512 * 513 + 513 * 128, 0.01, dict(JITTERED, stride=[1, 2, 3, 4], num_clips=2), SIZES, ['Flip', *COLOURS]),
}
CHANGES = dict(Flip=dict(p=0.5), Brightness=dict(p=0.2, delta=32), Contrast=dict(p=0.2, delta=0.2),
               HueSaturation=dict(p=0.2, hue=12, saturation=0.1))


@pytest.mark.parametrize('task', TASKS)
def test_published_recipes(task):
    head, lr, sampler, sizes, changes = TASKS[task]
    config = load_config(ROOT / f'configs/pretrain/video/{task}_r3d18_k400.py')
    model = build_model(config.model, config.seed)
    assert sum(p.numel() for p in model.head.parameters()) == head
    assert sum(p.numel() for p in model.backbone.parameters()) == 33_166_272
    train = config.data.train
    assert train.sampler == sampler and train.independent_clips == (task == 'moco')
    by_type = {cfg['type']: {key: value for key, value in cfg.items() if key != 'type'} for cfg in train.transforms}
    assert by_type.pop('RandomCrop') == dict(size=112)
    assert by_type.pop('Resize', None) == (dict(size=(171, 128)) if sizes is None else None)
    assert by_type.pop('RandomResize', None) == (None if sizes is None else dict(sizes=sizes))
    assert by_type == {name: CHANGES[name] for name in changes}
    sgd = dict(type='SGD', lr=lr, weight_decay=1e-4)
    assert config.optim_wrapper == dict(type='OptimWrapper', optimizer=dict(sgd, momentum=0.0),
                                        clip_grad=dict(max_norm=40))
    assert config.schedule == dict(type='ConstantSchedule') and config.data.batch_size == 4
    federation = config.federation
    assert (federation.rounds, federation.clients_per_round, federation.local_epochs) == (540, 5, 1)
    assert federation.strategy == dict(type='FedVSSL', alpha=0.9, beta=0.0)
    central = config.centralised()
    assert central.optim_wrapper == dict(config.optim_wrapper, optimizer=dict(sgd, momentum=0.9))
    assert central.training.epochs == 90 and central.data.batch_size == 32
    steps = dict(type='StepSchedule', milestones=[1 / 3, 2 / 3], gamma=0.1)
    assert central.schedule == (dict(type='CosineSchedule') if task == 'moco' else steps)


def test_what_the_tasks_do_on_the_device():
    ctp, moco = (load_config(ROOT / f'configs/pretrain/video/{task}_r3d18_k400.py').model for task in ('ctp', 'moco'))
    assert ctp['backbone']['spatial_strides'] == (1, 2, 2, 1)
    assert ctp['data_preprocessor']['augments'] == [
        dict(type='PastePatches'), dict(type='BatchHueSaturation', p=0.25, hue=12, saturation=0.1),
        dict(type='DynamicBrightness', p=0.5, delta=30), dict(type='DynamicContrast', p=0.5, delta=0.12)]
    assert PastePatches() == PastePatches(
        num_patches=3, scales=(16, 24, 28, 32, 48, 64), ratios=(0.5, 0.67, 0.75, 1, 1.33, 1.5, 2), scale_jitter=0.18,
        key_probabilities=(0.5, 0.3, 0.2), velocity=3.0, growth=0.025, visibility=0.8)
    assert (moco['queue_size'], moco['momentum'], moco['temperature']) == (65536, 0.999, 0.2)


@pytest.mark.parametrize('task', ['vcop', 'speed', 'ctp'])
def test_other_backbone_and_other_dataset(task):
    k400, other, ucf = (load_config(ROOT / f'configs/pretrain/video/{task}_{name}.py')
                        for name in ('r3d18_k400', 'r2plus1d18_k400', 'r3d18_ucf101'))
    model = build_model(other.model, other.seed)
    assert sum(p.numel() for p in model.backbone.parameters()) == 33_165_639
    assert differences(identity(k400), identity(other)) == ['model.backbone.type: "R3D18" -> "R2Plus1D18"']
    assert (ucf.federation.rounds, ucf.federation.clients_per_round, ucf.data.partition['num_clients']) == (20, 5, 5)
    assert ucf.federation.strategy == dict(type='FedVSSL', alpha=0.9, beta=1.0)
    assert ucf.optim_wrapper['optimizer']['momentum'] == 0.9 and ucf.centralised().training.epochs == 300
    assert ucf.optim_wrapper['optimizer']['lr'] == k400.optim_wrapper['optimizer']['lr']


@pytest.mark.parametrize('piece', PIECES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_piece_is_used(piece):
    assert any(f'_base_/{piece.parent.name}/{piece.name}' in leaf.read_text() for leaf in LEAVES)


def test_sets():
    ucf, hmdb = (load_config(ROOT / f'configs/downstream/finetune_r3d18_{name}.py') for name in ('ucf101', 'hmdb51'))
    assert (ucf.model['head']['num_classes'], hmdb.model['head']['num_classes']) == (101, 51)
    assert sorted(line.split(':')[0] for line in differences(identity(ucf), identity(hmdb))) == [
        'data.root', 'model.head.num_classes']
    assert (ucf.data.split_column, ucf.data.train.split, ucf.data.test.split) == ('split1', 'train', 'test')
    k400 = load_config(ROOT / 'configs/pretrain/video/vcop_r3d18_k400.py')
    assert (k400.data.root, k400.data.train.split, k400.data.test.split) == ('data/kinetics400', 'train', 'val')
    changed = load_config(ROOT / 'configs/pretrain/video/vcop_r3d18_k400.py', {
        'data.partition.num_clients': 50, 'data.root': 'elsewhere', 'data.test.split': 'test'})
    assert changed.data.partition == dict(type='ClassBlocksPartitioner', num_clients=50, classes_per_client=8)
    assert (changed.data.root, changed.data.train.split, changed.data.test.split) == ('elsewhere', 'train', 'test')
    lists = load_config(ROOT / 'configs/pretrain/video/vcop_r3d18_k400.py', {
        'data.partition.type': 'ListsPartitioner', 'data.partition.directory': 'lists'})
    assert lists.data.partition == dict(type='ListsPartitioner', directory='lists')
