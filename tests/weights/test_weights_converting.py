"""Round trips to the bit, and the outputs of our networks against those of the networks converted to."""

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.runner import load_checkpoint
from torch import nn
from torchvision_networks import VideoResNet

from fedvssl.errors import CheckpointError, ConfigError, StorageError
from fedvssl.models import build_model
from fedvssl.models.backbones.r2plus1d import R2Plus1D18
from fedvssl.models.backbones.r3d import R3D18
from fedvssl.weights import load_backbone, read_weights
from fedvssl.weights.converting import convert
from fedvssl.weights.layouts import find_layout
from fedvssl.weights.networks import Network
from fedvssl.weights.reading import read_checkpoint
from fedvssl.weights.writing import write_conversion

# What mmaction2's network must be told to be this one.
RESNET3D = dict(depth=18, pretrained=None, pretrained2d=False, base_channels=8, conv1_kernel=(3, 7, 7),
                conv1_stride_t=1, with_pool1=False, with_pool2=False, inflate=(1, 1, 1, 1),
                spatial_strides=(1, 2, 2, 2), temporal_strides=(1, 2, 2, 2), zero_init_residual=False,
                norm_cfg=dict(type='BN3d', requires_grad=True, eps=1e-3))
CLIP = torch.randn(2, 3, 8, 32, 32, generator=torch.Generator().manual_seed(5))


class Holder(nn.Module):
    """A model with a backbone and nothing else."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone


def randomised(model, seed=0):
    """Gives a network weights and running statistics under which every tensor matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith('num_batches_tracked'):
                tensor.fill_(540)
            elif tensor.dim() == 5:
                scale = (2 / tensor[0].numel()) ** 0.5
                tensor.copy_(scale * torch.randn(tensor.shape, generator=generator))
            else:
                # Small variances, so that another eps shows.
                tensor.copy_(0.02 + 0.2 * torch.rand(tensor.shape, generator=generator))
    model.eval()
    return model


def recognizer():
    """Returns a classifier of mmaction2's on that network."""
    return MODELS.build(dict(type='Recognizer3D', backbone=dict(RESNET3D, type='ResNet3d'),
                             cls_head=dict(type='I3DHead', num_classes=5, in_channels=64),
                             data_preprocessor=dict(type='mmaction.ActionDataPreprocessor')))


def converted(source, target, file, **options):
    conversion = convert(read_checkpoint(source), target, source, **options)
    write_conversion(conversion, file, force=True)
    return conversion


def ours_with(source, backbone):
    """Returns one of our networks with the weights of a file."""
    load_backbone(Holder(backbone), read_weights(source), source)
    return backbone.eval()


def assert_same_outputs(first, second):
    for network in (first, second):
        if isinstance(network, nn.Module):
            network.eval()  # returns None in mmaction2
    with torch.inference_mode():
        one, other = first(CLIP), second(CLIP)
    assert one.shape == other.shape == (2, 64, 1, 2, 2) and one.std() > 0.1
    assert (one - other).abs().max() <= 1e-5 * one.abs().max()


@pytest.fixture
def published(tmp_path):
    """A list of arrays as FedVSSL writes it, its network, and its tensors under our names."""
    import numpy as np

    network = randomised(R3D18(base_channels=8))
    arrays = [tensor.numpy() for tensor in network.state_dict().values()]
    np.savez(tmp_path / 'round-540-weights.array.npz', *arrays, *[np.ones((3, 2), np.float32)] * 6)
    tensors = {f'backbone.{name}': tensor for name, tensor in network.state_dict().items()}
    return tmp_path / 'round-540-weights.array.npz', network, tensors


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name in expected:
        assert found[name].dtype == expected[name].dtype and found[name].equal(expected[name]), name


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
@pytest.mark.parametrize('way', [['fedvssl', 'mmaction', 'fedvssl'], ['torchvision', 'fedvssl'],
                                 ['mmaction', 'torchvision', 'mmaction', 'fedvssl']], ids='-'.join)
def test_round_trips_are_bit_equal(published, tmp_path, way, suffix):
    source, _, tensors = published
    for number, target in enumerate(way):
        conversion = converted(source, target, tmp_path / f'{number}{suffix}')
        assert len(conversion.report.matched) == 120
        source = tmp_path / f'{number}{suffix}'
    found = read_weights(source)
    assert_same({name: found[name] for name in tensors}, tensors)  # safetensors sorts its names


def test_mmaction2_computes_the_same(published, tmp_path):
    source, ours, _ = published
    conversion = converted(source, 'mmaction', tmp_path / 'x.pth')
    bare = MODELS.build(dict(RESNET3D, type='ResNet3d'))
    load_checkpoint(bare, str(tmp_path / 'x.pth'), strict=True, revise_keys=[(r'^backbone\.', '')])
    assert_same_outputs(ours, bare)

    model = recognizer()
    load_checkpoint(model, str(tmp_path / 'x.pth'), strict=False)
    assert_same_outputs(ours, model.backbone)
    assert 'the default of mmaction is 1e-5; set norm_cfg=dict(type=' in str(conversion)


def test_a_recognizer_of_mmaction2_comes_back_without_its_head(tmp_path):
    model = recognizer()
    randomised(model)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=3)), tmp_path / 'x.pth')
    conversion = converted(tmp_path / 'x.pth', 'fedvssl', tmp_path / 'y.safetensors', origin='mmaction')
    assert conversion.report.unexpected == ['cls_head.fc_cls.weight', 'cls_head.fc_cls.bias']
    assert_same_outputs(ours_with(tmp_path / 'y.safetensors', R3D18(base_channels=8)), model.backbone)


def test_torchvision_computes_the_same_with_our_eps(published, tmp_path):
    source, ours, _ = published
    conversion = converted(source, 'torchvision', tmp_path / 'x.pth')
    theirs = VideoResNet(width=8, eps=1e-3).eval()
    missing, unexpected = theirs.load_state_dict(torch.load(tmp_path / 'x.pth', weights_only=True), strict=False)
    assert (missing, unexpected) == (['fc.weight', 'fc.bias'], [])
    assert_same_outputs(ours, theirs.features)
    assert 'the default of torchvision is 1e-5; set the eps of every BatchNorm3d to 1e-3' in str(conversion)
    assert 'strict=False' in str(conversion) and 'its r3d_18 is of width 64, this is of 8' in str(conversion)

    other = VideoResNet(width=8).eval()
    other.load_state_dict(theirs.state_dict())
    with torch.inference_mode():
        assert (other.features(CLIP) - ours(CLIP)).abs().max() > 1e-2  # so the note is needed


def test_weights_of_torchvision_compute_the_same_with_its_eps(tmp_path):
    theirs = randomised(VideoResNet(width=8))
    torch.save(theirs.state_dict(), tmp_path / 'x.pth')
    conversion = converted(tmp_path / 'x.pth', 'fedvssl', tmp_path / 'y.pth')
    assert conversion.report.unexpected == ['fc.weight', 'fc.bias']
    assert 'have eps 1e-5, the default of fedvssl is 1e-3; set model.backbone.norm_eps=1e-5' in str(conversion)
    for file in ('x.pth', 'y.pth'):
        assert_same_outputs(ours_with(tmp_path / file, R3D18(base_channels=8, norm_eps=1e-5)), theirs.features)


def test_r2plus1d_of_torchvision_computes_the_same_and_goes_back(tmp_path):
    theirs = randomised(VideoResNet(width=8, factored=True))
    torch.save(theirs.state_dict(), tmp_path / 'x.pth')
    conversion = converted(tmp_path / 'x.pth', 'fedvssl', tmp_path / 'y.pth')
    assert "R(2+1)D-18 of width 8, mid='per_block'" in str(conversion)
    assert "set model.backbone.mid='per_block'" in str(conversion)
    ours = ours_with(tmp_path / 'y.pth', R2Plus1D18(base_channels=8, norm_eps=1e-5, mid='per_block'))
    assert_same_outputs(ours, theirs.features)
    converted(tmp_path / 'y.pth', 'torchvision', tmp_path / 'z.pth')
    state = {name: tensor for name, tensor in theirs.state_dict().items() if not name.startswith('fc.')}
    assert_same(torch.load(tmp_path / 'z.pth', weights_only=True), state)


def test_r2plus1d_of_ctp_fits_neither_torchvision_nor_mmaction2(tmp_path):
    torch.save(Holder(R2Plus1D18(base_channels=8)).state_dict(), tmp_path / 'x.pth')
    assert "R(2+1)D-18 of width 8, mid='per_conv'" in str(converted(tmp_path / 'x.pth', 'fedvssl', tmp_path / 'y.pth'))
    with pytest.raises(CheckpointError, match=r"x.pth: does not fit torchvision's r2plus1d_18.*: "
                                              r'backbone.layer2.0.conv2.conv_s.weight has shape \(36, 16, 1, 3, 3\), '
                                              r'.* needs \(28, 16, 1, 3, 3\)'):
        converted(tmp_path / 'x.pth', 'torchvision', tmp_path / 'z.pth')
    with pytest.raises(CheckpointError, match='which mmaction2 does not have: its ResNet2Plus1d has another stem'):
        converted(tmp_path / 'x.pth', 'mmaction', tmp_path / 'z.pth')
    assert not (tmp_path / 'z.pth').exists()


def test_the_published_widths_of_the_two_kinds_of_r2plus1d():
    ctp, torchvision = Network('R2Plus1D18', 64, 'per_conv').state(), Network('R2Plus1D18', 64, 'per_block')
    assert torchvision.difference(ctp) == ('backbone.layer2.0.conv2.conv_s.weight has shape (288, 128, 1, 3, 3), '
                                           "R(2+1)D-18 of width 64, mid='per_block' needs (230, 128, 1, 3, 3)")
    with torch.device('meta'):
        theirs = [tuple(tensor.shape) for tensor in VideoResNet(64, factored=True).state_dict().values()]
    assert [tuple(tensor.shape) for tensor in torchvision.state().values()] == theirs[:-2]


def ctp_state(network, prefix='module.backbone.'):
    layout = find_layout('R3D18', 'ctp')
    return {prefix + layout.from_ours(name): tensor for name, tensor in network.state_dict().items()}


def test_a_checkpoint_of_ctp(tmp_path):
    network = randomised(R3D18(base_channels=8))
    heads = {f'module.{name}': torch.ones(2) for name in ('head.fc.weight', 'key_encoder.stem.conv.weight', 'queue')}
    torch.save(dict(state_dict={**ctp_state(network), **heads}, optimizer=dict(lr=0.1)), tmp_path / 'x.pth')
    conversion = converted(tmp_path / 'x.pth', 'fedvssl', tmp_path / 'y.safetensors', origin='ctp')
    assert conversion.report.unexpected == list(heads)
    assert str(conversion).startswith('R3D-18 of width 8, laid out as the R3D-18 of CtP\n'
                                      'matched 120, missing 0, unexpected 3\n  unexpected: module.head.fc.weight, ')
    assert_same_outputs(network, ours_with(tmp_path / 'y.safetensors', R3D18(base_channels=8)))
    assert_same_outputs(network, ours_with(tmp_path / 'x.pth', R3D18(base_channels=8)))


def test_a_model_of_ours_keeps_its_backbone_only(tmp_path):
    model = build_model(dict(type='VCOP', backbone=dict(type='R3D18', base_channels=8), head=dict(type='VCOPHead'),
                             data_preprocessor=dict(type='ClipPreprocessor')), 7)
    torch.save(model.state_dict(), tmp_path / 'x.pth')
    conversion = converted(tmp_path / 'x.pth', 'fedvssl', tmp_path / 'y.pth')
    assert len(conversion.tensors) == 120 and all(name.startswith('head.') for name in conversion.report.unexpected)
    assert torch.load(tmp_path / 'y.pth', weights_only=True)['meta']['backbone'] == 'R3D-18 of width 8'


def test_half_precision_becomes_single(tmp_path):
    state = {name: tensor.half() for name, tensor in ctp_state(randomised(R3D18(base_channels=8))).items()}
    torch.save(state, tmp_path / 'x.pth')
    conversion = converted(tmp_path / 'x.pth', 'fedvssl', tmp_path / 'y.pth')
    assert '100 tensors were not of type float32 and are converted' in conversion.notes
    assert {tensor.dtype for tensor in conversion.tensors.values()} == {torch.float32, torch.int64}


def without(name):
    return lambda state: state.pop(name)


def other_shape(state):
    state['module.backbone.layer2.0.downsample.conv.weight'] = torch.ones(16, 8, 3, 3, 3)


def infinite(state):
    state['module.backbone.stem.bn.weight'][0] = float('inf')


def flat(state):
    state['module.backbone.stem.conv.weight'] = torch.ones(8)


@pytest.mark.parametrize(('change', 'message'), [
    (other_shape, r'is of another model: backbone.layer2.0.downsample.conv.weight has shape \(16, 8, 3, 3, 3\), R3D-18 '
                  r'of width 8 needs \(16, 8, 1, 1, 1\)'),
    (without('module.backbone.layer4.1.bn2.bias'), 'holds only a part of this backbone: matched 119, missing 1, '
                                                   'unexpected 0\n  missing: backbone.layer4.1.conv2.bn.bias'),
    (infinite, 'backbone.conv1.bn.weight holds values that are not finite'),
    (flat, r'backbone.conv1.conv.weight, which says how wide the network is, has shape \(8,\)'),
    (without('module.backbone.stem.conv.weight'), 'its layout is not recognised, so that 0 of its 119 tensors matched'),
])
def test_checkpoints_that_are_not_whole(tmp_path, change, message):
    state = ctp_state(randomised(R3D18(base_channels=8)))
    change(state)
    torch.save(state, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match=f'x.pth: {message}'):
        converted(tmp_path / 'x.pth', 'fedvssl', tmp_path / 'y.pth')


def test_unknown_names_are_answered_with_the_known_ones(tmp_path):
    torch.save({'conv1.weight': torch.ones(2), 'bn1.weight': torch.ones(2)}, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError) as caught:
        converted(tmp_path / 'x.pth', 'fedvssl', tmp_path / 'y.pth')
    message = str(caught.value)
    assert "so that 0 of its 2 tensors matched: it has 'conv1.weight', 'bn1.weight', ..." in message
    assert 'R3D-18 of CtP (stem.conv.weight)' in message and 'r2plus1d_18 of torchvision' in message


def test_r2plus1d_of_mmaction2_is_known_and_refused(tmp_path):
    torch.save({'backbone.conv1.conv.conv_s.weight': torch.ones(2)}, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match="x.pth: is mmaction2's ResNet2Plus1d, which nothing here can hold"):
        converted(tmp_path / 'x.pth', 'fedvssl', tmp_path / 'y.pth')


def test_another_origin_than_was_said(published, tmp_path):
    with pytest.raises(CheckpointError, match='its names are those of the R3D-18 of CtP, not of torchvision'):
        converted(published[0], 'fedvssl', tmp_path / 'y.pth', origin='torchvision')


def test_files_are_written_whole_and_never_over_others(published, tmp_path):
    conversion = convert(read_checkpoint(published[0]), 'fedvssl', 'x')
    file = tmp_path / 'new' / 'x.pth'
    assert write_conversion(conversion, file) == file.stat().st_size
    assert [path.name for path in file.parent.iterdir()] == ['x.pth']
    with pytest.raises(ConfigError, match='x.pth: is there already; choose another name, or --force'):
        write_conversion(conversion, file)
    (file.parent / 'link').hardlink_to(file)
    write_conversion(convert(read_checkpoint(published[0]), 'torchvision', 'x'), file, force=True)
    assert 'stem.0.weight' in torch.load(file, weights_only=True)
    assert 'state_dict' in torch.load(file.parent / 'link', weights_only=True)  # moved over, not written into
    with pytest.raises(ConfigError, match='x.onnx: the suffix must say the format, .safetensors or .pth'):
        write_conversion(conversion, tmp_path / 'x.onnx')
    (tmp_path / 'folder.pth').mkdir()
    with pytest.raises(ConfigError, match='folder.pth: is there already; choose another name$'):
        write_conversion(conversion, tmp_path / 'folder.pth', force=True)
    with pytest.raises(StorageError, match='could not be written'):
        write_conversion(conversion, file / 'below-a-file.pth')


def test_a_failed_write_leaves_the_old_file(published, tmp_path, monkeypatch):
    conversion = convert(read_checkpoint(published[0]), 'fedvssl', 'x')
    file = tmp_path / 'new' / 'x.pth'
    write_conversion(conversion, file)
    before = file.read_bytes()

    def full(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('fedvssl.commit.fsync', full)
    with pytest.raises(StorageError, match='x.pth: could not be written: No space left on device'):
        write_conversion(conversion, file, force=True)
    assert file.read_bytes() == before and [path.name for path in file.parent.iterdir()] == ['x.pth']
