"""Every config that is shipped is valid, and says what it is."""

from pathlib import Path

import pytest

from fedvssl.config import check_types, load_config
from fedvssl.models import build_model

ROOT = Path(__file__).parent.parent
LEAVES = sorted(file for file in (ROOT / 'configs').rglob('*.py') if '_base_' not in file.parts)
PIECES = sorted(file for file in (ROOT / 'configs/_base_').rglob('*.py'))


@pytest.mark.parametrize('file', LEAVES, ids=lambda file: str(file.relative_to(ROOT)))
def test_leaf(file):
    config = load_config(file, {'data.root': 'videos'} if file.stem.endswith('_folder') else None)
    check_types(config)
    assert config.federation or config.training
    header = file.read_text().split('_base_ =')[0]
    assert header.startswith('#') and f'{file.relative_to(ROOT)}' in header


def test_the_published_geometry_and_recipe():
    """Figures of the specification, §2, §4.1 and §6.1."""
    pretrain = load_config(ROOT / 'configs/pretrain/video/vcop_r3d18_k400.py')
    model = build_model(pretrain.model, pretrain.seed)
    assert sum(p.numel() for p in model.parameters()) == 33_700_294
    assert pretrain.data.train.sampler == dict(type='VCOPSampler', clip_length=16, num_clips=3, gap=8)
    federation = pretrain.federation
    assert (federation.rounds, federation.clients_per_round, federation.local_epochs) == (540, 5, 1)
    assert pretrain.data.partition['num_clients'] == 100 and pretrain.data.batch_size == 4
    assert pretrain.optim_wrapper['optimizer'] == dict(type='SGD', lr=0.001, momentum=0.0, weight_decay=1e-4)
    finetune = load_config(ROOT / 'configs/downstream/finetune_r3d18_ucf101.py')
    assert finetune.optim_wrapper['optimizer'] == dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4)
    assert finetune.training.epochs == 150 and finetune.data.batch_size == 32
    assert finetune.optim_wrapper['clip_grad']['max_norm'] == pretrain.optim_wrapper['clip_grad']['max_norm'] == 40


@pytest.mark.parametrize('piece', PIECES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_piece_is_used(piece):
    assert any(f'_base_/{piece.parent.name}/{piece.name}' in leaf.read_text() for leaf in LEAVES)
