"""Checkpoints in: every source that is taken, and every reason to refuse one."""

import os
import pickle
import subprocess
import sys
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from fedvssl.commit import write_commit
from fedvssl.errors import CheckpointError
from fedvssl.weights import load_backbone, read_weights


class Model(nn.Module):
    """A backbone of three tensors, and a head."""

    def __init__(self, width=2):
        super().__init__()
        self.backbone = nn.Sequential(OrderedDict(conv=nn.Linear(3, width), norm=nn.PReLU(width)))
        self.head = nn.Linear(width, 5)


def backbone(width=2, value=0.5):
    shapes = {'conv.weight': (width, 3), 'conv.bias': (width,), 'norm.weight': (width,)}
    return {f'backbone.{name}': torch.full(shape, value) for name, shape in shapes.items()}


def same(found, expected):
    return found.keys() == expected.keys() and all(found[name].equal(expected[name]) for name in expected)


@pytest.fixture
def work_dir(tmp_path):
    """A work directory with rounds 1 and 2; the tensors of round r are filled with r."""
    for number in (1, 2):
        write_commit(tmp_path / f'run/rounds/round-{number:06d}',
                     {'global.safetensors': save(backbone(value=float(number))), 'state.json': b'{}'})
    return tmp_path / 'run'


def test_a_work_directory_gives_its_newest_round_and_a_round_itself(work_dir):
    (work_dir / 'rounds/latest').symlink_to('round-000002')
    assert same(read_weights(work_dir), backbone(value=2.0))
    assert same(read_weights(work_dir / 'rounds/latest'), backbone(value=2.0))
    assert same(read_weights(str(work_dir / 'rounds/round-000001')), backbone(value=1.0))


def test_files(tmp_path):
    save_file(backbone(), tmp_path / 'a.safetensors')
    torch.save(backbone(), tmp_path / 'b.pth')
    torch.save({'state_dict': backbone(), 'meta': {'epoch': 3}}, tmp_path / 'c.pth')
    torch.save({**backbone(), 'epoch': 3}, tmp_path / 'd.pt')
    for file in tmp_path.iterdir():
        assert same(read_weights(file), backbone()), file


def test_a_damaged_newest_round_serves_the_older_one_but_not_itself(work_dir, caplog):
    file = work_dir / 'rounds/round-000002/global.safetensors'
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert same(read_weights(work_dir), backbone(value=1.0)) and 'using the older round-000001' in caplog.text
    with pytest.raises(CheckpointError, match='round-000002/global.safetensors: damaged') as caught:
        read_weights(work_dir / 'rounds/round-000002')
    assert caught.value.exit_code == 7


@pytest.mark.parametrize(('name', 'content', 'message'), [
    ('none.pth', None, 'no such checkpoint'),
    ('short.safetensors', save(backbone())[:-3], 'damaged, not a safetensors file'),
    ('noise.safetensors', b'\xff' * 64, 'damaged, not a safetensors file'),
    ('noise.pth', b'\xff' * 64, 'not a file of plain tensors, or damaged'),
    ('empty.pth', b'', 'not a file of plain tensors, or damaged'),
    ('weights.onnx', b'', r'not a checkpoint \(a directory, .safetensors or .pth is\)'),
])
def test_missing_damaged_and_foreign_files(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f'{name}: {message}'):
        read_weights(tmp_path / name)


@pytest.mark.parametrize('content', [[torch.zeros(2)], {'epoch': 3}, {'state_dict': {}}])
def test_a_file_without_named_tensors(tmp_path, content):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match='x.pth: holds no'):
        read_weights(tmp_path / 'x.pth')


def test_foreign_directories(tmp_path):
    with pytest.raises(CheckpointError, match=r'holds no finished round \(expected rounds/round-000001'):
        read_weights(tmp_path)
    write_commit(tmp_path / 'head-000001', {'head.safetensors': save(backbone())})
    with pytest.raises(CheckpointError, match='head-000001: holds no global.safetensors'):
        read_weights(tmp_path / 'head-000001')


class Bomb:
    """Makes a directory when it is unpickled."""

    def __init__(self, crater):
        self.crater = crater

    def __reduce__(self):
        return os.mkdir, (str(self.crater),)


@pytest.fixture(params=['zip', 'legacy', 'pickle'])
def live_bomb(request, tmp_path):
    """A .pth that does execute its payload when it is read without care; and what the payload would make."""
    crater, file = tmp_path / 'crater', tmp_path / 'bomb.pth'
    content = {**backbone(), 'bomb': Bomb(crater)}
    if request.param == 'pickle':
        file.write_bytes(pickle.dumps(content['bomb']))
        pickle.loads(file.read_bytes())
    else:
        torch.save(content, file, _use_new_zipfile_serialization=request.param == 'zip')
        torch.load(file, weights_only=False)
    crater.rmdir()
    return file, crater


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_nothing_is_ever_unpickled(live_bomb):
    file, crater = live_bomb
    with pytest.raises(CheckpointError, match='bomb.pth: not a file of plain tensors.*nothing in it was executed'):
        read_weights(file)
    assert not crater.exists()


def test_the_environment_cannot_turn_the_protection_off(tmp_path):
    crater, file = tmp_path / 'crater', tmp_path / 'bomb.pth'
    torch.save({**backbone(), 'bomb': Bomb(crater)}, file)
    code = 'import sys; from fedvssl.weights import read_weights; read_weights(sys.argv[1])'
    run = subprocess.run([sys.executable, '-c', code, str(file)], capture_output=True, text=True,
                         env={**os.environ, 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': '1'})
    assert 'CheckpointError' in run.stderr and 'nothing in it was executed' in run.stderr
    assert not crater.exists()


def test_the_backbone_is_loaded_and_the_rest_reported():
    model = Model()
    head = model.head.weight.clone()
    report = load_backbone(model, {**backbone(), 'head.weight': torch.ones(5, 2), 'fc': torch.ones(1)}, 'x')
    assert same({name: tensor for name, tensor in model.state_dict().items() if name in backbone()}, backbone())
    assert model.head.weight.equal(head)
    assert report.unexpected == ['head.weight', 'fc']
    assert str(report) == 'matched 3, missing 0, unexpected 2\n  unexpected: head.weight, fc'


def test_the_report_names_six_at_most():
    tensors = {**backbone(), **{f'extra.{number}': torch.ones(1) for number in range(7)}}
    report = str(load_backbone(Model(), tensors, 'x'))
    assert report.endswith('unexpected: extra.0, extra.1, extra.2, extra.3, extra.4, extra.5, ...')


@pytest.mark.parametrize(('tensors', 'message'), [
    ({'encoder.w': torch.ones(1)}, "x: none of its 1 tensors belongs to this backbone, e.g. it has 'encoder.w' where "
                                   "'backbone.conv.weight' is needed"),
    ({}, "x: none of its 0 tensors belongs to this backbone, e.g. it has 'nothing' where"),
    (backbone(width=4), r'x: is of another model: backbone.conv.weight has shape \(4, 3\), this model needs \(2, 3\)'),
    ({**backbone(), 'backbone.norm.weight': torch.ones(1)}, r'backbone.norm.weight has shape \(1,\), .* needs \(2,\)'),
    ({'backbone.conv.weight': torch.ones(2, 3)}, 'x: holds only a part of this backbone: matched 1, missing 2, '
                                                 'unexpected 0\n  missing: backbone.conv.bias, backbone.norm.weight'),
])
def test_what_does_not_fit_is_refused_and_changes_nothing(tensors, message):
    model = Model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_backbone(model, tensors, 'x')
    assert same(model.state_dict(), before)
