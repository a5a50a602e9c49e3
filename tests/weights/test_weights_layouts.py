"""Key maps against names written by hand, and against our own models: complete, one to one, in order."""

import pytest

from fedvssl.weights.layouts import LAYOUTS, bare_names, find_layout, recognise
from fedvssl.weights.networks import Network

# Rows of the same tensor: ours, CtP, mmaction2, torchvision.
R3D18 = [
    ('conv1.conv.weight', 'stem.conv.weight', 'conv1.conv.weight', 'stem.0.weight'),
    ('conv1.bn.running_mean', 'stem.bn.running_mean', 'conv1.bn.running_mean', 'stem.1.running_mean'),
    ('layer1.0.conv1.conv.weight', 'layer1.0.conv1.conv.weight', 'layer1.0.conv1.conv.weight',
     'layer1.0.conv1.0.weight'),
    ('layer1.1.conv1.bn.bias', 'layer1.1.bn1.bias', 'layer1.1.conv1.bn.bias', 'layer1.1.conv1.1.bias'),
    ('layer2.0.conv2.conv.weight', 'layer2.0.conv2.conv.weight', 'layer2.0.conv2.conv.weight',
     'layer2.0.conv2.0.weight'),
    ('layer3.1.conv2.bn.num_batches_tracked', 'layer3.1.bn2.num_batches_tracked',
     'layer3.1.conv2.bn.num_batches_tracked', 'layer3.1.conv2.1.num_batches_tracked'),
    ('layer4.0.downsample.conv.weight', 'layer4.0.downsample.conv.weight', 'layer4.0.downsample.conv.weight',
     'layer4.0.downsample.0.weight'),
    ('layer4.0.downsample.bn.running_var', 'layer4.0.downsample_bn.running_var', 'layer4.0.downsample.bn.running_var',
     'layer4.0.downsample.1.running_var'),
]
# Ours, CtP, torchvision.
R2PLUS1D18 = [
    ('stem.conv_s.weight', 'stem.conv_s.weight', 'stem.0.weight'),
    ('stem.bn_s.bias', 'stem.bn_s.bias', 'stem.1.bias'),
    ('stem.conv_t.weight', 'stem.conv_t.weight', 'stem.3.weight'),
    ('stem.bn_t.running_var', 'stem.bn_t.running_var', 'stem.4.running_var'),
    ('layer1.0.conv1.conv_s.weight', 'layer1.0.conv1.conv_s.weight', 'layer1.0.conv1.0.0.weight'),
    ('layer2.1.conv1.bn_s.weight', 'layer2.1.conv1.bn_s.weight', 'layer2.1.conv1.0.1.weight'),
    ('layer2.0.conv2.conv_t.weight', 'layer2.0.conv2.conv_t.weight', 'layer2.0.conv2.0.3.weight'),
    ('layer3.0.bn1.bias', 'layer3.0.bn1.bias', 'layer3.0.conv1.1.bias'),
    ('layer3.0.bn2.running_mean', 'layer3.0.bn2.running_mean', 'layer3.0.conv2.1.running_mean'),
    ('layer4.0.downsample.conv.weight', 'layer4.0.downsample.conv.weight', 'layer4.0.downsample.0.weight'),
    ('layer4.0.downsample_bn.weight', 'layer4.0.downsample_bn.weight', 'layer4.0.downsample.1.weight'),
]
CASES = [(network, user, row[0], row[column])
         for network, users, rows in (('R3D18', ('ctp', 'mmaction', 'torchvision'), R3D18),
                                      ('R2Plus1D18', ('ctp', 'torchvision'), R2PLUS1D18))
         for column, user in enumerate(users, start=1) for row in rows]


@pytest.mark.parametrize(('network', 'user', 'ours', 'theirs'), CASES)
def test_names_by_hand(network, user, ours, theirs):
    layout = find_layout(network, user)
    assert layout.to_ours(theirs) == ours and layout.from_ours(ours) == theirs


@pytest.mark.parametrize('layout', LAYOUTS, ids=lambda layout: layout.title)
def test_every_tensor_has_one_name_in_every_layout(layout):
    network = Network(layout.network, 8, 'per_block' if layout.network == 'R2Plus1D18' else None)
    ours = [name.removeprefix('backbone.') for name in network.state()]
    theirs = [layout.from_ours(name) for name in ours]
    assert len(set(theirs)) == len(ours) == {'R3D18': 120, 'R2Plus1D18': 222}[layout.network]
    assert [layout.to_ours(name) for name in theirs] == ours
    assert recognise(theirs) == [layout]


def test_the_order_of_the_names_is_that_of_ctp():
    """Lists without names rely on it; CtP's modules by hand, in the order in which its state dict has them."""
    tails = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
    for network, unit in (('R3D18', ['conv']), ('R2Plus1D18', ['conv_s', 'bn_s', 'conv_t'])):
        modules = [f'stem.{part}' for part in unit] + ['stem.bn' if len(unit) == 1 else 'stem.bn_t']
        for stage in range(1, 5):
            for block in range(2):
                path = f'layer{stage}.{block}'
                for number in (1, 2):
                    modules += [f'{path}.conv{number}.{part}' for part in unit] + [f'{path}.bn{number}']
                if stage > 1 and block == 0:
                    modules += [f'{path}.downsample.conv', f'{path}.downsample_bn']
        expected = [f'{module}.{tail}' for module in modules
                    for tail in (tails if 'bn' in module else tails[:1])]
        layout = find_layout(network, 'ctp')
        state = Network(network, 8, 'per_conv' if network == 'R2Plus1D18' else None).state()
        assert [layout.from_ours(name.removeprefix('backbone.')) for name in state] == expected


def test_names_of_other_networks_are_not_translated():
    layout = find_layout('R3D18', 'torchvision')
    for name in ('fc.weight', 'layer1.0.conv3.0.weight', 'layer5.0.conv1.0.weight', 'layer1.2.conv1.0.weight', 'stem',
                 'stem.2.weight', ''):
        assert layout.to_ours(name) is None
    assert find_layout('R2Plus1D18', 'mmaction') is None


def test_prefixes():
    assert bare_names(['module.backbone.a', 'module.head.b']) == {'module.backbone.a': 'a'}
    assert bare_names(['backbone.a', 'module.b']) == {'backbone.a': 'a'}
    assert bare_names(['module.a', 'module.b']) == {'module.a': 'a', 'module.b': 'b'}
    assert bare_names(['module.a', 'b']) == {'module.a': 'module.a', 'b': 'b'}
    assert bare_names([]) == {}
