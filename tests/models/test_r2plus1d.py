"""R(2+1)D-18 against the published counts, key order and shapes, and golden outputs of a tiny version."""

import pytest
import torch
from torch import nn

from fedvssl.errors import ConfigError
from fedvssl.models import R2Plus1D18, build_model

STATISTICS = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')


def backbone(width=8, seed=7, **arguments):
    return build_model(dict(type='Recognizer', backbone=dict(type='R2Plus1D18', base_channels=width, **arguments),
                            head=dict(type='mmaction.I3DHead', num_classes=2),
                            data_preprocessor=dict(type='ClipPreprocessor')), seed).backbone


@pytest.mark.parametrize(('mid', 'parameters', 'numel', 'second'), [
    ('per_conv', 33_165_639, 33_191_836, 288), ('per_block', 31_300_125, 31_325_512, 230)])
def test_the_published_counts(mid, parameters, numel, second):
    network = R2Plus1D18(mid=mid)  # counts need no initialisation
    state = network.state_dict()
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(state) == 222 and sum(tensor.numel() for tensor in state.values()) == numel
    assert network.feat_dim == 512
    assert state['stem.conv_s.weight'].shape == (45, 3, 1, 7, 7)
    assert state['layer2.0.conv1.conv_s.weight'].shape == (230, 64, 1, 3, 3)
    assert state['layer2.0.conv2.conv_s.weight'].shape == (second, 128, 1, 3, 3)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    assert len(norms) == 37 and {norm.eps for norm in norms} == {1e-3}
    assert not any(module.bias is not None for module in network.modules() if isinstance(module, nn.Conv3d))


def test_key_order_is_that_of_the_published_checkpoints():
    """Unnamed lists of arrays are matched by this order."""
    def conv(name):
        return [f'{name}.weight']

    def norm(name):
        return [f'{name}.{statistic}' for statistic in STATISTICS]

    def factored(name):
        return conv(f'{name}.conv_s') + norm(f'{name}.bn_s') + conv(f'{name}.conv_t')

    expected = factored('stem') + norm('stem.bn_t')
    for stage in '1234':
        for block in '01':
            prefix = f'layer{stage}.{block}'
            expected += factored(f'{prefix}.conv1') + norm(f'{prefix}.bn1')
            expected += factored(f'{prefix}.conv2') + norm(f'{prefix}.bn2')
            if stage > '1' and block == '0':
                expected += conv(f'{prefix}.downsample.conv') + norm(f'{prefix}.downsample_bn')
    assert list(backbone().state_dict()) == expected


@pytest.mark.parametrize(('strides', 'side'), [((1, 2, 2, 2), 7), ((1, 2, 2, 1), 14)])
def test_output_shape_at_the_published_geometry(strides, side):
    network = backbone(width=4, spatial_strides=strides)
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 16, 112, 112)).shape == (1, 32, 2, side, side)


def test_a_stage_strides_in_its_first_convolution_space_before_time():
    stages = [backbone(width=4, spatial_strides=(1, 2, 2, 1)).get_submodule(f'layer{stage}') for stage in (1, 2, 4)]
    found = [[(block.conv1.conv_s.stride, block.conv1.conv_t.stride, block.conv2.conv_s.stride) for block in stage]
             for stage in stages]
    unit, space, time = (1, 1, 1), (1, 2, 2), (2, 1, 1)
    assert found == [[(unit,) * 3] * 2, [(space, time, unit), (unit,) * 3], [(unit, time, unit), (unit,) * 3]]
    assert stages[1][0].downsample.conv.stride == (2, 2, 2) and stages[2][0].downsample.conv.stride == (2, 1, 1)


def test_a_block_against_an_independent_spelling():
    block = backbone(width=4).layer2[0].eval()
    block.bn1.running_mean.uniform_(-1, 1, generator=torch.Generator().manual_seed(2))
    x = torch.randn(2, 4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    conv3d, relu = nn.functional.conv3d, nn.functional.relu

    def normalised(norm, y):
        mean, var = (statistic.view(-1, 1, 1, 1) for statistic in (norm.running_mean, norm.running_var))
        return (y - mean) / (var + 1e-3).sqrt() * norm.weight.view(-1, 1, 1, 1) + norm.bias.view(-1, 1, 1, 1)

    def factored(conv, y, space, time):
        y = conv3d(y, conv.conv_s.weight, stride=(1, space, space), padding=(0, 1, 1))
        return conv3d(relu(normalised(conv.bn_s, y)), conv.conv_t.weight, stride=(time, 1, 1), padding=(1, 0, 0))

    hidden = factored(block.conv2, relu(normalised(block.bn1, factored(block.conv1, x, 2, 2))), 1, 1)
    short = normalised(block.downsample_bn, conv3d(x, block.downsample.conv.weight, stride=2))
    torch.testing.assert_close(block(x), relu(normalised(block.bn2, hidden) + short), rtol=1e-4, atol=1e-5)


def test_initialisation_is_kaiming_over_the_fan_out():
    network = backbone(width=16)
    for conv in (network.layer3[1].conv1.conv_s, network.layer3[1].conv1.conv_t, network.layer4[0].downsample.conv):
        fan_out = conv.out_channels * conv.weight[0, 0].numel()
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    assert all(norm.weight.eq(1).all() and norm.bias.eq(0).all() for norm in network.modules()
               if isinstance(norm, nn.BatchNorm3d))


@pytest.mark.parametrize(('width', 'mid'), [(1, 1), (4, 3), (8, 6), (32, 22), (48, 34)])
def test_the_stem_scales_with_the_width(width, mid):
    assert R2Plus1D18(base_channels=width).stem.conv_s.out_channels == mid


def test_golden_outputs():
    """For a fixed seed and input; a changed initialisation, layer or order of operations shows."""
    x = torch.randn(2, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = backbone().eval()(x)
    assert features.shape == (2, 64, 1, 2, 2)
    assert features.mean().item() == pytest.approx(GOLDEN[0], rel=1e-4)
    assert features.std().item() == pytest.approx(GOLDEN[1], rel=1e-4)


def test_arguments_it_refuses():
    with pytest.raises(ConfigError, match="mid must be one of 'per_conv', 'per_block', not 'per_layer'"):
        R2Plus1D18(mid='per_layer')
    with pytest.raises(ConfigError, match=r'temporal_strides must be 4 numbers, one a stage, not \[1, 2\]'):
        R2Plus1D18(temporal_strides=(1, 2))
    with pytest.raises(ConfigError, match='widht'):
        backbone(widht=3)


GOLDEN = (0.7080515, 0.9435212)
