"""Checkpoints in: every source that is taken, and every reason to refuse one."""

import os
import pickle
import subprocess
import sys

import pytest
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from safetensors.torch import save, save_file

from fedvssl.commit import write_commit
from fedvssl.errors import CheckpointError
from fedvssl.weights import read_weights


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
    ('weights.onnx', b'', r'not a checkpoint \(a directory, .safetensors, .pth or .npz is\)'),
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


def test_a_training_checkpoint_of_mmengine(tmp_path):
    """It holds the history of the loss as an object of mmengine's, which is not made."""
    history = {'train/loss': HistoryBuffer([1.5, 0.5], [1, 1])}
    torch.save({'state_dict': backbone(), 'message_hub': {'log_scalars': history}}, tmp_path / 'epoch_1.pth')
    assert 'HistoryBuffer' in str(torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / 'epoch_1.pth'))
    assert same(read_weights(tmp_path / 'epoch_1.pth'), backbone())
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'epoch_1.pth', weights_only=True)  # what is admitted above is not admitted for ever


LAYOUTS = {
    'ctp': ['stem.conv.weight', 'stem.bn.bias', 'layer2.0.bn1.weight', 'layer2.0.downsample_bn.running_var'],
    'mmaction': ['conv1.conv.weight', 'conv1.bn.bias', 'layer2.0.conv1.bn.weight',
                 'layer2.0.downsample.bn.running_var'],
    'torchvision': ['stem.0.weight', 'stem.1.bias', 'layer2.0.conv1.1.weight', 'layer2.0.downsample.1.running_var',
                    'layer1.0.conv1.0.weight'],
}


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.', 'module.backbone.'])
@pytest.mark.parametrize('layout', LAYOUTS)
def test_foreign_names_become_ours(tmp_path, layout, prefix):
    tensors = {f'{prefix}{name}': torch.full((2,), float(number)) for number, name in enumerate(LAYOUTS[layout])}
    head = 'module.head.fc.weight' if prefix.startswith('module.') else 'head.fc.weight'
    torch.save({'state_dict': {**tensors, head: torch.ones(3)}}, tmp_path / 'x.pth')
    read = read_weights(tmp_path / 'x.pth')
    assert list(read)[:4] == [f'backbone.{name}' for name in LAYOUTS['mmaction']]
    assert [int(tensor[0]) for tensor in list(read.values())[:4]] == [0, 1, 2, 3]
    assert list(read)[-1] == head


def test_the_eps_of_torchvision_is_told(tmp_path, caplog):
    torch.save({name: torch.ones(2) for name in LAYOUTS['torchvision']}, tmp_path / 'x.pth')
    read_weights(tmp_path / 'x.pth')
    assert "torchvision's batch norms have eps 1e-5" in caplog.text
    assert 'set model.backbone: norm_eps=1e-5' in caplog.text


def test_names_of_two_layouts_are_refused(tmp_path):
    save_file({'stem.conv.weight': torch.ones(2), 'conv1.conv.weight': torch.ones(2)}, tmp_path / 'x.safetensors')
    with pytest.raises(CheckpointError, match=r'x.safetensors: ambiguous, has names of R3D-18 of fedvssl and mmaction2 '
                                              r'\(conv1.conv.weight\) and R3D-18 of CtP \(stem.conv.weight\)'):
        read_weights(tmp_path / 'x.safetensors')


def test_two_names_for_one_tensor_are_refused(tmp_path):
    tensors = {f'module.{name}': torch.ones(2) for name in ('backbone.stem.conv.weight', 'backbone.stem.bn.weight')}
    save_file({**tensors, 'backbone.conv1.bn.weight': torch.ones(2), 'backbone.stem.conv.weight': torch.ones(2),
               'backbone.stem.bn.weight': torch.ones(2)}, tmp_path / 'x.safetensors')
    with pytest.raises(CheckpointError, match='two of its tensors are backbone.conv1.bn.weight'):
        read_weights(tmp_path / 'x.safetensors')
