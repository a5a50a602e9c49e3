"""CIFAR from archives and folders, made byte for byte in the official form: good, incomplete, damaged and hostile."""

import os
import pickle
import shutil
from functools import partial

import numpy as np
import pytest

from fedvssl.data.images.cifar import CIFAR
from fedvssl.errors import ConfigError, DataListError
from tests.data.cifar_files import cifar10, cifar100, pack, pickled, unpack

ARCHIVE10, FOLDER10 = 'cifar-10-python.tar.gz', 'cifar-10-batches-py'
ARCHIVE100, FOLDER100 = 'cifar-100-python.tar.gz', 'cifar-100-python'


@pytest.fixture
def archive(tmp_path):
    return pack(tmp_path / ARCHIVE10, FOLDER10, pickled(cifar10()))


def test_the_generated_pickles_are_what_python_reads():
    values = pickle.loads(pickled(cifar10())['data_batch_2'], encoding='latin1')
    np.testing.assert_array_equal(values['data'], cifar10()['data_batch_2']['data'])
    assert values['labels'][:3] == [2, 2, 3] and values['filenames'][-1] == 'data_batch_2_19.png'


@pytest.mark.parametrize('place', ['archive', 'folder', 'the folder itself', 'the archive itself'])
def test_cifar10_from_archive_and_folder(tmp_path, place):
    contents = pickled(cifar10())
    if 'archive' in place:
        root = pack(tmp_path / ARCHIVE10, FOLDER10, contents)
    else:
        root = unpack(tmp_path / FOLDER10, contents)
    root = root if 'itself' in place else tmp_path
    train, test = (CIFAR().read(root, split) for split in ('train', 'test'))
    assert train.pixels.shape == (100, 32, 32, 3) and test.pixels.shape == (20, 32, 32, 3)
    assert train.pixels.flags.c_contiguous and train.classes == tuple(f'class{i}' for i in range(10))
    # image 7 of batch 3: red says the batch, green the image, blue the place in the plane, row by row
    assert (train.pixels[47, ..., 0] == 3).all() and (train.pixels[47, ..., 1] == 7).all()
    assert train.pixels[47, 2, 5, 2] == 2 * 32 + 5 and train.pixels[47, 31, 31, 2] == 1023 % 251
    assert train.labels[47] == 6 and train.names[47] == 'data_batch_3_7.png'
    assert (test.pixels[..., 0] == 6).all() and test.labels[:5].tolist() == [6, 6, 7, 7, 8]


def test_cifar100_fine_and_coarse(tmp_path):
    pack(tmp_path / ARCHIVE100, FOLDER100, pickled(cifar100()))
    fine, coarse = (CIFAR(classes=100, coarse=coarse).read(tmp_path, 'train') for coarse in (False, True))
    assert fine.labels[:5].tolist() == [0, 3, 6, 9, 12] and fine.classes[12] == 'fine12' and len(fine.classes) == 100
    assert coarse.labels[:5].tolist() == [0, 0, 1, 1, 2] and coarse.classes[19] == 'coarse19'
    # the j-th value of a row is j modulo 256, and 1024 is a multiple of 256: all planes are alike
    assert fine.pixels[0, 1, 3].tolist() == [35] * 3 and len(fine.pixels) == 40
    assert len(CIFAR(classes=100).read(tmp_path, 'test').pixels) == 20


@pytest.mark.parametrize('protocol', [2, 4])
def test_pickles_of_python_3_are_read_too(tmp_path, protocol):
    unpack(tmp_path / FOLDER10, pickled(cifar10(), partial(pickle.dumps, protocol=protocol)))
    images = CIFAR().read(tmp_path, 'train')
    assert (images.pixels[47, ..., 0] == 3).all() and images.names[47] == 'data_batch_3_7.png'


def test_the_first_of_each_class(archive):
    images = CIFAR(train_images=30, test_images=10).read(archive.parent, 'train')
    assert np.bincount(images.labels).tolist() == [3] * 10
    # each batch holds two of a class, one after the other: all of the first batch, and the first of each pair after it
    assert images.names == (*(f'data_batch_1_{place}.png' for place in range(20)),
                            *(f'data_batch_2_{place}.png' for place in range(0, 20, 2)))
    assert images.pixels[images.labels == 5, 0, 0, :2].tolist() == [[1, 8], [1, 9], [2, 6]]
    assert len(CIFAR(train_images=30, test_images=10).read(archive.parent, 'test').labels) == 10


@pytest.mark.parametrize(('limit', 'error', 'message'), [
    (25, ConfigError, r'train_images takes equally many images of each class, so it is a multiple of the 10 classes'),
    (200, DataListError, r'class 0 has 10 images in .train., fewer than the 20 of each that train_images=200 asks for'),
    (0, ConfigError, 'train_images is a number of images, 1 or more, not 0'),
    (True, ConfigError, 'train_images is a number of images, 1 or more, not True')])
def test_limits_that_cannot_be_met(archive, limit, error, message):
    with pytest.raises(error, match=message):
        CIFAR(train_images=limit).read(archive.parent, 'train')


@pytest.mark.parametrize('kept', [0.999, 0.6, 0.02, 0.0])
@pytest.mark.parametrize('split', ['train', 'test'])
def test_a_truncated_archive_is_named_with_its_size_and_the_official_one(tmp_path, kept, split):
    files = cifar10()
    noise = np.random.default_rng(0).integers(256, size=(20, 3072), dtype=np.uint8)  # which does not compress
    for name in set(files) - {'batches.meta'}:
        files[name]['data'] = noise
    archive = pack(tmp_path / ARCHIVE10, FOLDER10, pickled(files))
    archive.write_bytes(archive.read_bytes()[:int(kept * archive.stat().st_size)])
    size = f'{archive.stat().st_size:,}'
    with pytest.raises(DataListError, match=rf'{ARCHIVE10}: is damaged or incomplete: has {size} bytes of the '
                                            r'170,498,071 of the official archive .*; download it again'):
        CIFAR().read(tmp_path, split)


def test_a_truncated_cifar100_names_its_own_size(tmp_path):
    archive = pack(tmp_path / ARCHIVE100, FOLDER100, pickled(cifar100()))
    archive.write_bytes(archive.read_bytes()[:300])
    with pytest.raises(DataListError, match='has 300 bytes of the 169,001,437 of the official archive'):
        CIFAR(classes=100).read(tmp_path, 'train')


def test_missing_files_are_named(tmp_path):
    contents = pickled(cifar10())
    del contents['data_batch_2'], contents['data_batch_5']
    pack(tmp_path / ARCHIVE10, FOLDER10, contents)
    with pytest.raises(DataListError, match=f'{ARCHIVE10}: lacks data_batch_2, data_batch_5; unpack or download'):
        CIFAR().read(tmp_path, 'train')
    assert len(CIFAR().read(tmp_path, 'test').labels) == 20
    folder = unpack(tmp_path / FOLDER10, contents)  # which goes before the archive
    with pytest.raises(DataListError, match=f'{FOLDER10}: lacks data_batch_2, data_batch_5'):
        CIFAR().read(tmp_path, 'train')
    assert {file.name for file in CIFAR().files(tmp_path)} == set(contents)
    shutil.rmtree(folder)
    assert CIFAR().files(tmp_path) == [tmp_path / ARCHIVE10]
    with pytest.raises(DataListError, match=f'holds neither {ARCHIVE100} nor its folder {FOLDER100}'):
        CIFAR(classes=100).read(tmp_path, 'train')


def test_without_names_of_classes_there_are_none(tmp_path):
    contents = pickled(cifar10())
    del contents['batches.meta']
    unpack(tmp_path / FOLDER10, contents)
    assert CIFAR().read(tmp_path, 'train').classes == ()


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f'touch {self.trace}',)


def test_a_pickle_that_runs_a_command_is_refused_without_running_it(tmp_path):
    trace = tmp_path / 'trace'
    contents = pickled(cifar10()) | {'data_batch_3': pickle.dumps({'data': Hostile(trace)}, protocol=2)}
    unpack(tmp_path / FOLDER10, contents)
    with pytest.raises(DataListError, match='data_batch_3: no file of CIFAR, or damaged; nothing in it was executed '
                                            r'.*names posix.system'):
        CIFAR().read(tmp_path, 'train')
    assert not trace.exists()
    pickle.loads(contents['data_batch_3'])
    assert trace.exists()  # it would have run


def changed(**values):
    """Returns files of which one batch has other values."""
    files = cifar10()
    files['data_batch_4'] = {key: value for key, value in (files['data_batch_4'] | values).items() if value is not None}
    return pickled(files, partial(pickle.dumps, protocol=2))


@pytest.mark.parametrize(('contents', 'message'), [
    (changed(data=None), "data_batch_4: has no 'data'; there are batch_label, filenames, labels"),
    (changed(labels=None), "data_batch_4: has no 'labels'"),
    (changed(labels=[0] * 19), r'data_batch_4: holds uint8 \(20, 3072\) and 19 labels instead of uint8 \(n, 3072\)'),
    (changed(labels=[10] * 20), r'data_batch_4: has labels 10..10; there are 10 classes'),
    (changed(labels=[-1] * 20), r'data_batch_4: has labels -1..-1'),
    (changed(labels=['x'] * 20), 'data_batch_4: is no batch of CIFAR: labels are not integers'),
    (changed(labels=[2**70] * 20), 'data_batch_4: is no batch of CIFAR'),
    (changed(data=np.zeros((20, 3072))), r'data_batch_4: holds float64 \(20, 3072\)'),
    (changed(data=np.zeros((20, 1024), np.uint8)), r'data_batch_4: holds uint8 \(20, 1024\)'),
    (changed(data=[1, 2]), 'data_batch_4: is no batch of CIFAR: holds a value of type list where an array should be'),
    (changed() | {'data_batch_4': b''}, 'data_batch_4: no file of CIFAR, or damaged'),
    (changed() | {'data_batch_4': changed()['data_batch_4'][:2000]}, 'data_batch_4: no file of CIFAR, or damaged'),
    (changed() | {'data_batch_4': pickle.dumps([1], 2)}, 'holds a value of type list instead of a dictionary'),
    (changed() | {'batches.meta': pickle.dumps({'label_names': ['one']}, 2)}, "names 1 classes under 'label_names'"),
    # claims 2 GiB for a string, and numbers an object so that Python would allocate 32 GiB
    (changed() | {'data_batch_4': b'\x80\x02T\xff\xff\xff\x7fabc.'}, 'data_batch_4: no file of CIFAR, or damaged'),
    (changed() | {'data_batch_4': b'\x80\x02]r\xff\xff\xff\x7f.'}, 'numbers its objects out of order')])
def test_damaged_batches_are_named(tmp_path, contents, message):
    unpack(tmp_path / FOLDER10, contents)
    with pytest.raises(DataListError, match=message):
        CIFAR().read(tmp_path, 'train')


@pytest.mark.parametrize('arguments', [dict(classes=20), dict(coarse=True), dict(test_images=-1)])
def test_arguments_of_cifar(arguments):
    with pytest.raises(ConfigError, match='CIFAR: '):
        CIFAR(**arguments)
