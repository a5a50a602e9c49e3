"""Networks for small images: published counts, torchvision's outputs and names, every size, and what they refuse."""

import hashlib
import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fedvssl import rng
from fedvssl.errors import ConfigError
from fedvssl.models.backbones.conv4 import Conv4
from fedvssl.models.backbones.efficientnet_cifar import EfficientNetCIFAR, scaled_width
from fedvssl.models.backbones.resnet_cifar import BasicBlock, Bottleneck, ResNetCIFAR
from fedvssl.registry import MODELS

# What the published ImageNet networks have beyond ours: a linear classifier of 1000 classes, and a larger stem.
RESNET_STEM = 64 * 3 * (7 * 7 - 3 * 3)
VGG_CLASSIFIER = (25_088 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 1000 + 1000)
ALEX_CLASSIFIER = (9216 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 1000 + 1000)


@pytest.fixture(autouse=True)
def one_thread():
    """On small images, threads wait for each other more than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def linear(features):
    return 1000 * features + 1000


# Config, channels, the published network's parameters (as torchvision lists them), and how many of them ours lacks.
PUBLISHED = [
    *((dict(type='ResNetCIFAR', depth=depth), channels, count, linear(channels) + RESNET_STEM)
      for depth, channels, count in ((18, 512, 11_689_512), (34, 512, 21_797_672), (50, 2048, 25_557_032),
                                     (101, 2048, 44_549_160), (152, 2048, 60_192_808))),
    *((dict(type='VGGCIFAR', depth=depth, bn=bn), 512, count, VGG_CLASSIFIER)
      for depth, bn, count in ((11, False, 132_863_336), (13, False, 133_047_848), (16, False, 138_357_544),
                               (19, False, 143_667_240), (11, True, 132_868_840), (13, True, 133_053_736),
                               (16, True, 138_365_992), (19, True, 143_678_248))),
    *((dict(type='DenseNetCIFAR', depth=depth), channels, count, linear(channels) + stem * 3 * (49 - 9))
      for depth, channels, stem, count in ((121, 1024, 64, 7_978_856), (161, 2208, 96, 28_681_000),
                                           (169, 1664, 64, 14_149_480), (201, 1920, 64, 20_013_928))),
    (dict(type='AlexNetCIFAR'), 256, 61_100_840, ALEX_CLASSIFIER + 64 * 3 * (11 * 11 - 3 * 3)),
    *((dict(type='EfficientNetCIFAR', variant=variant), channels, count, linear(channels))
      for variant, channels, count in (
          ('b0', 1280, 5_288_548), ('b1', 1280, 7_794_184), ('b2', 1408, 9_109_994), ('b3', 1536, 12_233_232),
          ('b4', 1792, 19_341_616), ('b5', 2048, 30_389_784), ('b6', 2304, 43_040_704), ('b7', 2560, 66_347_960))),
    (dict(type='Conv4'), 128, 241_184, 0),
]
FAMILIES = [dict(type='ResNetCIFAR', depth=18, width=8), dict(type='ResNetCIFAR', depth=50, width=4),
            dict(type='VGGCIFAR', depth=11), dict(type='VGGCIFAR', depth=11, bn=False), dict(type='DenseNetCIFAR'),
            dict(type='AlexNetCIFAR'), dict(type='EfficientNetCIFAR'), dict(type='Conv4')]


def label(cfg):
    return '-'.join(str(value) for value in cfg.values()) if isinstance(cfg, dict) else ''


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def built(cfg, seed=5):
    network = MODELS.build(cfg)
    rng.seed_torch(seed, 'init')
    network.init_weights()
    return network


def images(size, number=2, seed=0):
    return torch.randn(number, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(('cfg', 'channels', 'published', 'left_out'), PUBLISHED, ids=label)
def test_every_network_has_the_published_count_and_takes_every_size(cfg, channels, published, left_out):
    """On the meta device, which computes shapes only; 8 px is the smallest size."""
    with torch.device('meta'):
        network = MODELS.build(cfg).eval()
        assert count(network) == published - left_out
        assert network.feat_dim == channels
        for size in (8, 32, 64):
            out = network(torch.empty(2, 3, size, size))
            assert out.shape[:2] == (2, channels) and min(out.shape[2:]) >= 1


@pytest.mark.parametrize(('cfg', 'sides'), [
    (dict(type='ResNetCIFAR', depth=18, width=8), (2, 4, 8)), (dict(type='VGGCIFAR'), (1, 1, 2)),
    (dict(type='DenseNetCIFAR'), (2, 4, 8)), (dict(type='AlexNetCIFAR'), (2, 4, 8)),
    (dict(type='EfficientNetCIFAR'), (1, 2, 4)), (dict(type='Conv4'), (2, 4, 8))], ids=label)
def test_real_images_give_finite_maps_that_differ(cfg, sides):
    network = built(cfg).eval()
    for size, side in zip((16, 32, 64), sides, strict=True):
        with torch.inference_mode():
            out = network(images(size))
        assert out.shape == (2, network.feat_dim, side, side)
        assert out.isfinite().all() and not torch.allclose(out[0], out[1])


def filled(network):
    """Returns the network in float64 and eval mode, with every tensor drawn in the order of the state."""
    generator = torch.Generator().manual_seed(3)
    network = network.double()
    for name, tensor in network.state_dict().items():
        if name.endswith('num_batches_tracked'):
            continue
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        if tensor.ndim == 4:
            noise /= tensor[0].numel() ** 0.5
        tensor.copy_(noise.exp() if name.endswith('running_var') else noise)
    return network.eval()


# Digest of the tensors' names, mean and standard deviation of the output: torchvision 0.28's networks, filled likewise,
# with stem (and for AlexNet `ceil_mode`, for EfficientNet eps 1e-3) set to ours. All 26 were once equal, bit for bit.
TORCHVISION = [
    (dict(type='ResNetCIFAR', depth=18), '87353a6da6e082e5', 4.781372502420804, 8.443248178312327),
    (dict(type='ResNetCIFAR', depth=50), 'a571d996cb709012', 119.84283699690205, 182.80653561405302),
    (dict(type='VGGCIFAR', depth=11, bn=False), '4d9e725940156ac6', 0.7430904747027022, 0.8176041191912226),
    (dict(type='VGGCIFAR', depth=16, bn=True), 'f0213586dfb73ae7', 1.302238099553538, 2.0342355145128628),
    (dict(type='DenseNetCIFAR', depth=121), 'c82bc26937e9fe0e', 0.9452456462961929, 1.866037721863026),
    (dict(type='AlexNetCIFAR'), 'c9ecc9c78b18c57e', 0.8536734517833006, 1.1085408657386284),
    (dict(type='EfficientNetCIFAR', variant='b0'), 'f774bc102c5f9916', 1.1493465506063747, 2.480446510213604),
    (dict(type='EfficientNetCIFAR', variant='b3'), 'f75032faec3cecd7', 1.190168298194714, 2.854331385196387),
]


@pytest.mark.parametrize(('cfg', 'names', 'mean', 'std'), TORCHVISION, ids=label)
def test_names_and_outputs_are_those_of_torchvision(cfg, names, mean, std):
    network = filled(MODELS.build(cfg))
    assert hashlib.blake2b('\n'.join(network.state_dict()).encode(), digest_size=8).hexdigest() == names
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    with torch.inference_mode():
        out = network(x)
    assert out.mean().item() == pytest.approx(mean, rel=1e-9)
    assert out.std().item() == pytest.approx(std, rel=1e-9)


@pytest.mark.parametrize(('cfg', 'multiply_adds'), [
    # Weights times output pixels: the stem, four convolutions; in each later stage one from half the width, three,
    # and a shortcut.
    (dict(type='ResNetCIFAR', depth=18), 27 * 64 * 32**2 + 4 * 9 * 64**2 * 32**2 + sum(
        (9 * width**2 // 2 + 3 * 9 * width**2 + width**2 // 2) * side**2
        for width, side in ((128, 16), (256, 8), (512, 4)))),
    (dict(type='Conv4'), 27 * 32 * 32**2 + 9 * 32 * 64 * 16**2 + 9 * 64 * 128 * 8**2 + 9 * 128 * 128 * 4**2),
], ids=label)
def test_operations(cfg, multiply_adds):
    with torch.device('meta'), FlopCounterMode(display=False) as counter:
        MODELS.build(cfg)(torch.empty(1, 3, 32, 32))
    assert counter.get_total_flops() == 2 * multiply_adds
    assert round(2 * multiply_adds / 1e6) == {'ResNetCIFAR': 1111, 'Conv4': 25}[cfg['type']]


@pytest.mark.parametrize('cfg', FAMILIES, ids=label)
def test_gradients_reach_every_convolution(cfg):
    network = built(cfg).train()
    out = network(images(32))
    direction = torch.randn(2, network.feat_dim, generator=torch.Generator().manual_seed(1))
    (out.mean(dim=(2, 3)) * direction).sum().backward()
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert convolutions[0].in_channels == 3
    for convolution in convolutions:
        gradient = convolution.weight.grad
        assert gradient.isfinite().all() and gradient.abs().max() > 0


@pytest.mark.parametrize('cfg', FAMILIES, ids=label)
def test_the_same_seed_gives_the_same_bits_whatever_was_there(cfg):
    first = built(cfg)
    torch.manual_seed(99)  # what the constructor draws
    second, other = built(cfg), built(cfg, seed=6)
    states = [network.state_dict() for network in (first, second, other)]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert all(not torch.equal(tensor, states[2][name]) for name, tensor in states[0].items() if tensor.ndim == 4)


@pytest.mark.parametrize('cfg', FAMILIES, ids=label)
def test_instances_share_nothing(cfg):
    first, second = built(cfg), built(cfg)
    before = {name: tensor.clone() for name, tensor in second.state_dict().items()}
    with torch.no_grad():
        first.train()(images(32))
        for parameter in first.parameters():
            parameter.add_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in second.state_dict().items())
    storages = [tensor.untyped_storage().data_ptr() for tensor in first.state_dict().values()]
    assert len(set(storages)) == len(storages)  # and none of an instance's own tensors is there twice


def test_a_large_variant_does_not_change_a_small_one():
    with torch.device('meta'):
        counts = [count(EfficientNetCIFAR(variant)) for variant in ('b0', 'b2', 'b7', 'b0')]
    assert counts == [4_007_548, 7_700_994, 63_786_960, 4_007_548]


def test_he_initialisation_counts_the_fan_of_a_convolutions_own_group():
    def expected(fan):
        return pytest.approx((2 / fan) ** 0.5, rel=0.05)

    resnet = built(dict(type='ResNetCIFAR', depth=18, width=32))
    assert resnet.layer3[0].conv1.weight.std().item() == expected(9 * 128)  # from 64 channels to 128
    dense = built(dict(type='DenseNetCIFAR'))
    assert dense.features.denseblock3.denselayer9.conv2.weight.std().item() == expected(9 * 128)  # to 32
    depthwise = built(dict(type='EfficientNetCIFAR')).features[6][1].block[1][0]
    assert depthwise.groups == 1152 and depthwise.weight.std().item() == expected(25)
    alex = built(dict(type='AlexNetCIFAR'))
    assert alex.features[3].weight.std().item() == expected(25 * 192)
    assert all(module.bias.eq(0).all() for module in alex.modules() if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize(('depth', 'kind'), [(18, BasicBlock), (50, Bottleneck)])
def test_zero_init_residual_makes_blocks_identities(depth, kind):
    x = torch.rand(2, 4 * kind.expansion, 8, 8, generator=torch.Generator().manual_seed(0))
    for zero in (True, False):
        block = built(dict(type='ResNetCIFAR', depth=depth, width=4, zero_init_residual=zero)).layer1[1].eval()
        assert isinstance(block, kind)
        assert torch.equal(block(x), x) is zero


def test_stochastic_depth_leaves_out_samples_in_training_only():
    network = built(dict(type='EfficientNetCIFAR', drop_path=0.2))
    blocks = [block for block in network.modules() if hasattr(block, 'drop_path')]
    assert [block.drop_path.drop_prob for block in blocks] == pytest.approx([0.2 * place / 16 for place in range(16)])
    plain = built(dict(type='EfficientNetCIFAR'))
    with torch.inference_mode():
        assert torch.equal(network.eval()(images(32)), plain.eval()(images(32)))
        last = next(block for block in reversed(blocks) if block.residual)
        rate = last.drop_path.drop_prob
        x = torch.ones(400, 192, 2, 2)
        out, kept = last(x), x + last.block(x) / (1 - rate)
        assert torch.equal(out, x + last.block(x))
        torch.manual_seed(0)
        last.drop_path.train()
        out = last(x)
    left_out = out.eq(x).flatten(1).all(dim=1)
    torch.testing.assert_close(out[~left_out], kept[~left_out])
    left_out = left_out.sum().item()
    spread = math.sqrt(400 * rate * (1 - rate))
    assert abs(left_out - 400 * rate) < 3 * spread


@pytest.mark.parametrize(('channels', 'factor', 'width'), [
    (32, 1.0, 32), (16, 1.1, 16), (40, 1.2, 48), (32, 1.4, 48), (112, 1.4, 160), (8, 1.4, 16), (320, 2.0, 640)])
def test_scaled_widths(channels, factor, width):
    """8 times 1.4 is 11.2: the nearest multiple of 8 would take off more than a tenth."""
    assert scaled_width(channels, factor) == width


@pytest.mark.parametrize(('cfg', 'message'), [
    (dict(type='ResNetCIFAR', depth=20), 'ResNetCIFAR: depth must be one of 18, 34, 50, 101, 152, not 20'),
    (dict(type='ResNetCIFAR', width=0), 'ResNetCIFAR: width must be a whole number of channels, at least 1, not 0'),
    (dict(type='VGGCIFAR', depth='16'), "VGGCIFAR: depth must be one of 11, 13, 16, 19, not '16'"),
    (dict(type='DenseNetCIFAR', depth=100), 'DenseNetCIFAR: depth must be one of 121, 161, 169, 201, not 100'),
    (dict(type='EfficientNetCIFAR', variant='b8'), "variant must be one of 'b0', .*'b7', not 'b8'"),
    (dict(type='EfficientNetCIFAR', drop_path=1), r'drop_path must be a probability in \[0, 1\), not 1'),
    (dict(type='Conv4', width=2.5), 'Conv4: width must be a whole number of channels, at least 1, not 2.5'),
], ids=label)
def test_arguments_they_refuse(cfg, message):
    with pytest.raises(ConfigError, match=message):
        MODELS.build(cfg)


@pytest.mark.parametrize(('x', 'message'), [
    (torch.zeros(2, 3, 7, 32), 'Conv4: images must be at least 8 px high and wide, not 7 x 32'),
    (torch.zeros(2, 1, 32, 32), r'Conv4: takes RGB images \(N, 3, H, W\), not \(2, 1, 32, 32\)'),
    (torch.zeros(3, 32, 32), r'takes RGB images \(N, 3, H, W\), not \(3, 32, 32\)'),
    (torch.zeros(2, 32, 32, 3), r'not \(2, 32, 32, 3\)'),
    (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), 'takes float images, not torch.uint8'),
], ids=['small', 'grey', 'no batch', 'channels last', 'uint8'])
def test_images_they_refuse(x, message):
    with pytest.raises(ConfigError, match=message):
        Conv4()(x)


def test_widths_scale_the_channels():
    assert Conv4(width=6).feat_dim == 24 and ResNetCIFAR(50, width=4).feat_dim == 128
    assert ResNetCIFAR(34, width=5).feat_dim == 40
