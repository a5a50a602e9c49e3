"""Backbone and VCOP against the published counts, shapes and initial loss, and golden outputs of a tiny version."""

import math

import pytest
import torch

from fedvssl.errors import ConfigError
from fedvssl.models import build_model

PREPROCESSOR = dict(type='ClipPreprocessor')


def vcop(width=8, seed=7, **head):
    return build_model(dict(type='VCOP', backbone=dict(type='R3D18', base_channels=width),
                            head=dict(type='VCOPHead', **head), data_preprocessor=PREPROCESSOR), seed)


def batch(size, clips=3, frames=8, side=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(256, (size, clips, frames, side, side, 3), generator=generator, dtype=torch.uint8)
    return dict(inputs=inputs, data_samples=dict(target=torch.randint(6, (size,), generator=generator)))


def test_r3d18_is_the_published_network():
    model = vcop(width=64)
    state = model.backbone.state_dict()
    assert sum(p.numel() for p in model.backbone.parameters()) == 33_166_272
    assert len(state) == 120 and sum(tensor.numel() for tensor in state.values()) == 33_175_892
    assert sum(p.numel() for p in model.head.parameters()) == 534_022
    assert sum(p.numel() for p in model.parameters()) == 33_700_294
    norms = [module for module in model.backbone.modules() if isinstance(module, torch.nn.BatchNorm3d)]
    assert len(norms) == 20 and {norm.eps for norm in norms} == {1e-3}
    assert all(norm.weight.eq(1).all() for norm in norms)  # no zero-initialised residual
    assert list(model.state_dict())[:120] == [f'backbone.{name}' for name in state]


def test_key_order_is_that_of_the_published_checkpoints():
    """Unnamed lists of arrays are matched by this order."""
    suffixes = ('conv.weight', 'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var', 'bn.num_batches_tracked')
    units = ['conv1']
    for stage in range(1, 5):
        for block in range(2):
            units += [f'layer{stage}.{block}.conv1', f'layer{stage}.{block}.conv2']
            if stage > 1 and block == 0:
                units.append(f'layer{stage}.{block}.downsample')
    expected = [f'{unit}.{suffix}' for unit in units for suffix in suffixes]
    assert list(vcop().backbone.state_dict()) == expected


@pytest.mark.parametrize(('strides', 'side'), [((1, 2, 2, 2), 7), ((1, 2, 2, 1), 14)])
def test_output_shape_at_the_published_geometry(strides, side):
    model = build_model(dict(type='VCOP', backbone=dict(type='R3D18', base_channels=4, spatial_strides=strides),
                             head=dict(type='VCOPHead'), data_preprocessor=PREPROCESSOR), 7)
    with torch.inference_mode():
        assert model.backbone(torch.zeros(1, 3, 16, 112, 112)).shape == (1, 32, 2, side, side)


def test_initial_loss_is_ln_6():
    losses = []
    for seed in range(4):
        model = vcop(seed=seed)
        data = model.data_preprocessor(batch(16, seed=seed))
        losses.append(float(model(**data, mode='loss')['loss'].detach()))
    assert sum(losses) / len(losses) == pytest.approx(math.log(6), abs=0.02)
    assert math.log(6) == pytest.approx(1.792, abs=5e-4)


def test_golden_outputs():
    """Backbone and head for a fixed seed and input; a changed initialisation, layer or order of operations shows."""
    model = vcop(hidden_channels=16).eval()
    with torch.inference_mode():
        inputs = model.data_preprocessor(batch(2))['inputs']
        features, logits = model(inputs), model(inputs, mode='predict')
    assert features.shape == (6, 64, 1, 2, 2)
    assert features.mean().item() == pytest.approx(GOLDEN_FEATURES[0], rel=1e-4)
    assert features.std().item() == pytest.approx(GOLDEN_FEATURES[1], rel=1e-4)
    torch.testing.assert_close(logits[0], torch.tensor(GOLDEN_LOGITS), rtol=1e-3, atol=1e-6)


def test_the_head_compares_every_pair_once():
    """Against an independent spelling of the formula."""
    head = vcop(hidden_channels=16).eval().head
    features = torch.randn(5, 3, 64, generator=torch.Generator().manual_seed(1))
    hidden = [torch.clamp(torch.hstack((features[:, i], features[:, j])) @ head.fc1.weight.T + head.fc1.bias, min=0)
              for i in range(3) for j in range(i + 1, 3)]
    torch.testing.assert_close(head(features), torch.hstack(hidden) @ head.fc2.weight.T + head.fc2.bias)


def test_same_seed_same_bits_other_seed_other_bits():
    first, same, other = vcop(seed=7).state_dict(), vcop(seed=7).state_dict(), vcop(seed=8).state_dict()
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_preprocessing_normalises_and_puts_channels_first():
    data = batch(2)
    inputs = vcop().data_preprocessor(data)['inputs']
    assert inputs.shape == (2, 3, 3, 8, 32, 32) and inputs.dtype == torch.float32
    pixel = data['inputs'][1, 2, 3, 4, 5].float()
    expected = (pixel - torch.tensor([123.675, 116.28, 103.53])) / torch.tensor([58.395, 57.12, 57.375])
    torch.testing.assert_close(inputs[1, 2, :, 3, 4, 5], expected)


def test_the_recognizer_averages_logits_over_clips():
    model = build_model(dict(type='Recognizer', backbone=dict(type='R3D18', base_channels=8),
                             head=dict(type='mmaction.I3DHead', num_classes=5, dropout_ratio=0.5, init_std=0.001),
                             data_preprocessor=PREPROCESSOR), 7).eval()
    assert 5e-4 < model.head.fc_cls.weight.std() < 2e-3
    with torch.inference_mode():
        inputs = model.data_preprocessor(batch(2, clips=4))['inputs']
        together = model(inputs, mode='predict')
        apart = torch.stack([model(inputs[:, [clip]], mode='predict') for clip in range(4)])
    assert together.shape == (2, 5)
    torch.testing.assert_close(together, apart.mean(dim=0), rtol=1e-4, atol=1e-6)


def test_arguments_a_model_refuses_become_a_config_error():
    with pytest.raises(ConfigError, match='VCOP'):
        build_model(dict(type='VCOP', backbone=dict(type='R3D18', widht=3), head=dict(type='VCOPHead'),
                         data_preprocessor=PREPROCESSOR), 7)


GOLDEN_FEATURES = (0.9968376, 1.351733)
GOLDEN_LOGITS = [0.00219914, 0.00382469, 0.00707384, 0.00193258, -0.0303669, 0.0048614]
