"""Published lists of arrays: every form that is read, every reason to refuse one; nothing in them ever runs."""

import builtins
import io
import os
import pickle
import struct
import sys
import zipfile
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest
import torch

from fedvssl.errors import CheckpointError
from fedvssl.models.backbones.r2plus1d import R2Plus1D18
from fedvssl.models.backbones.r3d import R3D18
from fedvssl.weights import read_weights
from fedvssl.weights.npz import read_npz
from fedvssl.weights.reading import read_checkpoint

HEADS = {'Speed': 2, 'VCOP': 4, 'CtP': 6}


@dataclass
class Parameters:
    """Flower's class, as files name it."""

    tensors: list[bytes]
    tensor_type: str


@pytest.fixture(params=['flwr.common.typing', 'flwr.compat.common.typing'])
def flower(request, monkeypatch):
    """Puts the class where pickles of older and newer releases look for it."""
    module = ModuleType(request.param)
    module.Parameters = Parameters
    monkeypatch.setitem(sys.modules, request.param, module)
    monkeypatch.setattr(Parameters, '__module__', request.param)
    return Parameters


def backbone(cls=R3D18, width=8, **options):
    """Returns a backbone whose running statistics and counters are not the initial ones."""
    generator = torch.Generator().manual_seed(1)
    model = cls(base_channels=width, **options)
    for name, tensor in model.state_dict().items():
        if name.endswith('num_batches_tracked'):
            tensor.fill_(512)
        else:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    return model


def arrays_of(model, head='CtP'):
    """Returns what a client of FedVSSL sends: the tensors of backbone and head, in order, without names."""
    return [tensor.numpy() for tensor in model.state_dict().values()] + [np.ones((3, 2), np.float32)] * HEADS[head]


def payload(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def objects(items):
    """Returns an array of objects, which is what old versions of numpy made of a list of arrays."""
    array = np.empty(len(items), object)
    array[:] = items
    return array


def assert_backbone(tensors, model):
    expected = model.state_dict()
    assert list(tensors) == [f'backbone.{name}' for name in expected]
    for name, tensor in expected.items():
        found = tensors[f'backbone.{name}']
        assert found.dtype == tensor.dtype and found.shape == tensor.shape and found.equal(tensor), name


@pytest.mark.parametrize('extra', [(), ({},)], ids=['alone', 'with an empty dictionary'])
def test_an_object_of_flowers(flower, tmp_path, extra):
    model = backbone()
    np.savez(tmp_path / 'x.npz', flower([payload(array) for array in arrays_of(model)], 'numpy.ndarray'), *extra)
    assert_backbone(read_weights(tmp_path / 'x.npz'), model)


def test_the_class_of_the_installed_flower(tmp_path):
    from flwr.common import ndarrays_to_parameters

    model = backbone()
    np.savez(tmp_path / 'x.npz', ndarrays_to_parameters(arrays_of(model)))
    assert_backbone(read_weights(tmp_path / 'x.npz'), model)


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_an_array_of_arrays_and_plain_arrays(tmp_path, save):
    model = backbone()
    save(tmp_path / 'b.npz', objects(arrays_of(model)))
    save(tmp_path / 'c.npz', *arrays_of(model))
    assert_backbone(read_weights(tmp_path / 'b.npz'), model)
    assert_backbone(read_weights(tmp_path / 'c.npz'), model)


@pytest.mark.parametrize(('protocol', 'module'), [(2, 'numpy.core.multiarray'), (3, 'numpy.core.multiarray'),
                                                  (3, 'numpy._core.multiarray'), (4, 'numpy._core.multiarray')])
def test_pickles_of_old_and_new_numpy(tmp_path, protocol, module):
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
              np.array(7), np.float64(512.7), 3, 2.5, np.array([True]), np.arange(3, dtype='>i2'), np.float16(0.5)]
    pickled = pickle.dumps(objects(arrays), protocol)
    if protocol < 4:  # older protocols name a class in one line; protocol 4 says how long its name is
        pickled = pickled.replace(b'cnumpy._core.multiarray\n', f'c{module}\n'.encode())
    write_npz(tmp_path / 'x.npz', object_npy(pickled, shape=(9,)))
    for found, expected in zip(read_npz(tmp_path / 'x.npz'), arrays, strict=True):
        assert found.shape == np.shape(expected) and found.dtype == np.asarray(expected).dtype
        assert np.array_equal(found, expected)


def object_npy(pickled, shape=()):
    """Returns a ``.npy`` file of objects with a pickle of our choice."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, dict(descr='|O', fortran_order=False, shape=shape))
    return stream.getvalue() + pickled


def write_npz(file, *members):
    with zipfile.ZipFile(file, 'w') as archive:
        for number, member in enumerate(members):
            archive.writestr(f'arr_{number}.npy', member)
    return file


@pytest.mark.parametrize('head', HEADS)
def test_the_head_is_counted_and_left_out(tmp_path, head):
    np.savez(tmp_path / 'x.npz', *arrays_of(backbone(), head))
    checkpoint = read_checkpoint(tmp_path / 'x.npz')
    assert len(checkpoint.tensors) == 120
    assert checkpoint.left_out == tuple(f'array {120 + number} (3, 2)' for number in range(HEADS[head]))
    assert checkpoint.notes[0].startswith(f'{120 + HEADS[head]} arrays without names, named by their order: R3D-18 of '
                                          f'width 8, and the head of {head}')


@pytest.mark.parametrize('mid', ['per_conv', 'per_block'])
def test_r2plus1d_is_told_by_its_stem(tmp_path, mid):
    model = backbone(R2Plus1D18, mid=mid)
    np.savez(tmp_path / 'x.npz', *arrays_of(model))
    assert_backbone(read_weights(tmp_path / 'x.npz'), model)
    assert f"R(2+1)D-18 of width 8, mid='{mid}'" in read_checkpoint(tmp_path / 'x.npz').notes[0]


def test_averaged_counters_are_truncated_and_reported(tmp_path):
    model = backbone()
    arrays = [np.asarray(array, np.float64) + (0.7 if not array.ndim else 0) for array in arrays_of(model)]
    np.savez(tmp_path / 'x.npz', *arrays)
    checkpoint = read_checkpoint(tmp_path / 'x.npz')
    assert_backbone(checkpoint.tensors, model)
    assert checkpoint.notes[1:] == (
        '20 num_batches_tracked were not of type int64 (averaged as floats) and are truncated',
        '100 tensors were not of type float32 and are converted')


def wrong_width(arrays):
    arrays[18] = np.ones((16, 8, 3, 3, 3), np.float32)


def not_finite(arrays):
    arrays[7] = arrays[7] + np.float32('nan')


@pytest.mark.parametrize(('change', 'message'), [
    (wrong_width, r'is of another model: backbone.layer1.1.conv1.conv.weight has shape \(16, 8, 3, 3, 3\), '
                  r'R3D-18 of width 8 needs \(8, 8, 3, 3, 3\)'),
    (lambda arrays: arrays.insert(0, arrays.pop()), r'its first array has shape \(3, 2\); that of R3D-18 has '),
    (lambda arrays: arrays.pop(), r'holds 125 arrays; known lists of R3D-18 hold 120 \(with no head\), 122 '),
    (lambda arrays: arrays.extend(arrays), "its 252 arrays are a list of 126 twice over: Flower's FedVSSL baseline "
                                           'joined two averages'),
    (not_finite, 'backbone.layer1.0.conv1.bn.weight holds values that are not finite'),
])
def test_lists_of_another_network(tmp_path, change, message):
    arrays = arrays_of(backbone())
    change(arrays)
    np.savez(tmp_path / 'x.npz', *arrays)
    with pytest.raises(CheckpointError, match=f'x.npz: {message}') as caught:
        read_weights(tmp_path / 'x.npz')
    assert caught.value.exit_code == 7


class Bomb:
    """Makes a directory when it is unpickled."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.fixture
def crater(tmp_path):
    """What every bomb below makes when it goes off."""
    return tmp_path / 'crater'


def bombs(crater):
    """Returns pickles of arrays that run something when they are read without care, and the name that is refused."""
    code = f'__import__("os").mkdir({str(crater)!r})'
    array = np.zeros((), object)
    for name, bomb in (('posix.mkdir', Bomb(os.mkdir, str(crater))),
                       ('posix.system', Bomb(os.system, f'mkdir {crater}')),
                       ('builtins.eval', Bomb(builtins.eval, code)),
                       ('builtins.exec', Bomb(builtins.exec, code))):
        array[()] = bomb
        yield name, pickle.dumps(array, 4)


def test_nothing_in_a_pickle_is_executed(tmp_path, crater):
    for name, pickled in bombs(crater):
        file = write_npz(tmp_path / 'x.npz', object_npy(pickled))
        np.load(file, allow_pickle=True)['arr_0']
        crater.rmdir()  # so it does go off
        with pytest.raises(CheckpointError, match=f'x.npz: not a file of plain arrays, or damaged; nothing in it was '
                                                  f'executed .*names {name}, which'):
            read_weights(file)
        assert not crater.exists()


def test_a_bomb_beside_the_arrays_or_in_the_empty_dictionary(tmp_path, crater):
    plain = payload(np.ones(3))
    for _, pickled in bombs(crater):
        for members in ((plain, object_npy(pickled)), (object_npy(pickle.dumps(objects([np.ones(3)]))),
                                                       object_npy(pickled))):
            with pytest.raises(CheckpointError, match='nothing in it was executed'):
                read_npz(write_npz(tmp_path / 'x.npz', *members))
            assert not crater.exists()


def test_a_bomb_as_the_state_of_an_admitted_class(tmp_path, crater, flower):
    for hidden in (flower(Bomb(os.mkdir, str(crater)), 'x'), flower([Bomb(os.mkdir, str(crater))], 'x'),
                   [np.ones(3), Bomb(os.mkdir, str(crater))]):
        array = np.empty((), object)
        array[()] = hidden
        with pytest.raises(CheckpointError, match='names posix.mkdir'):
            read_npz(write_npz(tmp_path / 'x.npz', object_npy(pickle.dumps(array, 4))))
        assert not crater.exists()


def test_two_lists_in_one_file(tmp_path):
    np.savez(tmp_path / 'x.npz', objects([np.ones(3)]), objects([np.ones(3), np.ones(2)]))
    with pytest.raises(CheckpointError, match='holds more than one list of arrays'):
        read_npz(tmp_path / 'x.npz')


PREFIX = b'\x80\x02cnumpy.core.multiarray\n_reconstruct\n'
HUGE = b'\x8e' + struct.pack('<Q', 1 << 62) + b'x'  # BINBYTES8 of 4 EiB


@pytest.mark.parametrize(('pickled', 'message'), [
    (pickle.dumps(objects([np.ones(3), objects([np.ones(3)])])), "holds values of type '|O'"),
    (pickle.dumps(objects([np.ones(3), 'text'])), 'holds a value of type str where an array should be'),
    (pickle.dumps(objects([np.ones(3), None])), 'holds a value of type NoneType where'),
    (pickle.dumps(objects([np.ones(3), {}])), 'holds something else among its arrays'),
    (pickle.dumps(objects([np.array(['text'])])), "holds values of type '<U4'"),
    (pickle.dumps(objects([np.ones(3, complex)])), "holds values of type '<c16'"),
    (pickle.dumps(objects([np.ones(3)]))[:-20], 'nothing in it was executed'),
    (pickle.dumps([np.ones(3)]), 'holds a value of type list where'),
    (pickle.dumps(np.ones(3)), 'is not an array of objects'),
    (b'', 'nothing in it was executed'),
    (PREFIX + b'.', 'holds a value of type type where'),
    (PREFIX + b'}b.', 'TypeError'),  # writing to the stand-in itself
    (PREFIX + b'N}(X\x01\x00\x00\x00aNu\x86b.', 'TypeError'),
    (PREFIX + b')Rr\xff\xff\xff\xff.', 'numbers its objects out of order'),
    (PREFIX + b')\x81' + HUGE + b'b.', 'nothing in it was executed'),
    (b'\x80\x02\x82\x01.', 'uses the pickle opcode EXT1'),
    (b'\x80\x02Pid\n.', 'uses the pickle opcode PERSID'),
    (b'\x80\x04\x8c\x0cnumpy.random\x8c\x07default\x93.', 'names numpy.random.default, which'),
    (b'\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.', 'names numpy.ndarray.__init__, which'),
])
def test_anything_but_arrays_is_refused(tmp_path, pickled, message):
    with pytest.raises(CheckpointError, match='x.npz: not a file of plain arrays, or damaged') as caught:
        read_npz(write_npz(tmp_path / 'x.npz', object_npy(pickled, (1,))))
    assert message in str(caught.value)


def test_the_stand_ins_stay_as_they_are(tmp_path):
    """Two pickles in a row: what the first tries to write to a class must not change what the second gives."""
    with pytest.raises(CheckpointError):
        read_npz(write_npz(tmp_path / 'x.npz', object_npy(PREFIX + b'N}(X\x09\x00\x00\x00argumentsNu\x86b.')))
    np.savez(tmp_path / 'y.npz', objects([np.ones(3)]))
    assert np.array_equal(read_npz(tmp_path / 'y.npz')[0], np.ones(3))


@pytest.mark.parametrize('content', [
    object_npy(pickle.dumps(objects([np.ones(3)])), (1,)),  # objects inside Flower's byte strings
    payload(np.ones(3))[:-1], payload(np.ones(3)) + b'x', payload(np.ones(3))[:20], b'', b'not npy',
    payload(np.array(['text'])), payload(np.zeros(2, 'V8')),
], ids=range(8))
def test_payloads_of_flowers_object_that_are_no_plain_arrays(tmp_path, flower, content):
    np.savez(tmp_path / 'x.npz', flower([payload(np.ones(3)), content], 'numpy.ndarray'))
    with pytest.raises(CheckpointError, match='x.npz: not a file of plain arrays, or damaged'):
        read_npz(tmp_path / 'x.npz')


def test_a_declared_shape_costs_no_memory(tmp_path):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, dict(descr='<f4', fortran_order=False, shape=(10**9, 10**9)))
    with pytest.raises(CheckpointError, match=r'needs 4000000000000000000 bytes and has 4'):
        read_npz(write_npz(tmp_path / 'x.npz', stream.getvalue() + b'1234'))


def test_a_declared_size_costs_no_memory(tmp_path):
    file = write_npz(tmp_path / 'x.npz', payload(np.ones(3)))
    content = bytearray(file.read_bytes())
    entry = content.index(b'PK\x01\x02')
    content[entry + 24:entry + 28] = struct.pack('<I', 0xfffffff0)  # its size when unpacked, in the central directory
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match='claims to hold 4294967280 bytes, more than the 1073741824'):
        read_npz(file)


def test_one_array_named_over_and_over(tmp_path, flower):
    """Each further mention costs two bytes of the file and an array of ours."""
    array, payload = np.ones(3, np.float32), io.BytesIO()
    np.save(payload, array)
    repeated = np.empty(20_000, object)
    repeated[:] = [array] * len(repeated)
    parameters = np.empty((), object)
    parameters[()] = flower([payload.getvalue()] * 20_000, 'numpy.ndarray')
    for content in (repeated, parameters):
        file = tmp_path / 'weights.npz'
        np.savez(file, content)
        with pytest.raises(CheckpointError, match='lists 20000 arrays, more than the 10000 that are read'):
            read_npz(file)


@pytest.mark.parametrize('damage', [lambda content: content[:len(content) // 2], lambda content: b'',
                                    lambda content: content[:90] + bytes([content[90] ^ 1]) + content[91:]])
def test_damaged_archives(tmp_path, damage):
    np.savez(tmp_path / 'x.npz', np.arange(100.0))
    (tmp_path / 'x.npz').write_bytes(damage((tmp_path / 'x.npz').read_bytes()))
    with pytest.raises(CheckpointError, match='x.npz: not a file of plain arrays, or damaged'):
        read_npz(tmp_path / 'x.npz')


@pytest.mark.parametrize('names', [[], ['weights.npy'], ['arr_1.npy'], ['arr_0.npy', 'arr_2.npy'],
                                   ['arr_0.npy', '../arr_1.npy']])
def test_archives_of_something_else(tmp_path, names):
    with zipfile.ZipFile(tmp_path / 'x.npz', 'w') as archive:
        for name in names:
            archive.writestr(name, payload(np.ones(3)))
    with pytest.raises(CheckpointError, match='instead of arr_0, arr_1'):
        read_npz(tmp_path / 'x.npz')
