"""Readers of npz, image folders and packed files: what they make of good files, and what they say about bad ones."""

import csv
import io
import lzma
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from fedvssl.config import from_dict
from fedvssl.data.dataset import list_digests
from fedvssl.data.images.arrays import ImageArrays
from fedvssl.data.images.cifar import CIFAR
from fedvssl.data.images.folder import ImageFolder
from fedvssl.data.images.npz import NPZ
from fedvssl.data.images.packed import PackedImages
from fedvssl.errors import ConfigError, DataListError
from fedvssl.registry import IMAGES, build
from tests.conftest import image_values


def npz(folder, **arrays):
    np.savez(folder / 'images.npz', **arrays)
    return folder


PIXELS = np.arange(6 * 4 * 5 * 3, dtype=np.uint8).reshape(6, 4, 5, 3)
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize('keys', [('train_images', 'train_labels'), ('x_train', 'y_train')])
def test_npz(tmp_path, keys):
    npz(tmp_path, **{keys[0]: PIXELS, keys[1]: LABELS[:, None].astype(np.uint16)}, classes=np.array(['a', 'b', 'c']))
    images = NPZ().read(tmp_path, 'train')
    np.testing.assert_array_equal(images.pixels, PIXELS)
    assert images.labels.tolist() == LABELS.tolist() and images.classes == ('a', 'b', 'c')
    few = NPZ(train_images=3).read(tmp_path, 'train')
    np.testing.assert_array_equal(few.pixels, PIXELS[:3])
    assert NPZ().files(tmp_path) == [tmp_path / 'images.npz']


def test_grey_images_get_three_channels(tmp_path):
    npz(tmp_path, test_images=PIXELS[..., 1], test_labels=LABELS)
    np.testing.assert_array_equal(NPZ().read(tmp_path, 'test').pixels, PIXELS[..., [1, 1, 1]])


@pytest.mark.parametrize(('arrays', 'message'), [
    (dict(train_images=PIXELS, labels=LABELS), 'has no train_images and train_labels; there are train_images, labels'),
    (dict(train_images=PIXELS.transpose(0, 3, 1, 2), train_labels=LABELS),
     r'train_images: images are uint8 \(n, height, width, 3\), RGB, not uint8 \(6, 3, 4, 5\)'),
    (dict(train_images=PIXELS / 255, train_labels=LABELS), r'not float64 \(6, 4, 5, 3\)'),
    (dict(train_images=PIXELS, train_labels=LABELS[:5]), r'labels are int64 \(6,\), one for each image, not int64 '),
    (dict(train_images=PIXELS, train_labels=LABELS - 1), r'image 0 \(counted from 0\) has label -1; labels are 0 or'),
    (dict(train_images=PIXELS, train_labels=LABELS, classes=np.array(['a', 'b'])), 'image 2 .* has label 2; .* 0..1'),
    (dict(train_images=PIXELS, train_labels=LABELS / 2), r'train_labels: labels are integers .*, not float64'),
    (dict(train_images=PIXELS[:0], train_labels=LABELS[:0]), 'no images'),
    (dict(train_images=PIXELS, train_labels=np.array([0, None, 1, 1, 1, 1])), 'not a file of plain arrays')])
def test_npz_that_are_wrong(tmp_path, arrays, message):
    with pytest.raises(DataListError, match=message):
        NPZ().read(npz(tmp_path, **arrays), 'train')


def test_npz_that_is_damaged_or_missing(tmp_path):
    with pytest.raises(DataListError, match='images.npz: no such file'):
        NPZ().read(tmp_path, 'train')
    npz(tmp_path, train_images=PIXELS, train_labels=LABELS)
    file = tmp_path / 'images.npz'
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DataListError, match='images.npz: not a file of plain arrays, or damaged'):
        NPZ().read(tmp_path, 'train')
    with pytest.raises(ConfigError, match='file ends in .npz'):
        NPZ(file='images.pkl')


def save(file: Path, picture_rgb):
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), picture_rgb[..., ::-1])


def picture(red, green=20, blue=30, size=(8, 8)):
    return np.full((*size, 3), (red, green, blue), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two classes, two pictures each, in train and test; red says which."""
    for number, split in enumerate(('train', 'test')):
        for label, name in enumerate(('cat', 'dog')):
            for place in range(2):
                save(tmp_path / split / name / f'{place}.png', picture(100 * number + 10 * label + place))
    (tmp_path / 'train/cat/notes.txt').write_text('no picture')
    return tmp_path


def test_image_folder(folder):
    images = ImageFolder(size=8).read(folder, 'test')
    assert images.classes == ('cat', 'dog') and images.labels.tolist() == [0, 0, 1, 1]
    assert images.names == ('cat/0.png', 'cat/1.png', 'dog/0.png', 'dog/1.png')
    assert images.pixels[:, 3, 4].tolist() == [[red, 20, 30] for red in (100, 101, 110, 111)]
    assert ImageFolder(size=8, train_images=2).read(folder, 'train').names == ('cat/0.png', 'dog/0.png')
    assert [str(file.relative_to(folder)) for file in ImageFolder().files(folder)] == [
        f'{split}/{name}/{place}.png' for split in ('train', 'test') for name in ('cat', 'dog') for place in (0, 1)]


def test_pictures_of_another_size_are_named_or_scaled_and_cut(folder):
    wide = np.zeros((16, 48, 3), np.uint8)
    wide[:, 16:32] = 200  # the middle third is what remains
    save(folder / 'train/dog/1.png', wide)
    with pytest.raises(DataListError, match=r'dog.1.png: has 48x16 pixels instead of 8x8; set data.images.size, or'):
        ImageFolder(size=8).read(folder, 'train')
    images = ImageFolder(size=8, resize=True).read(folder, 'train')
    assert (images.pixels[3] == 200).all() and (images.pixels[2] == (10, 20, 30)).all()
    save(folder / 'train/dog/1.png', picture(77, size=(5, 3)))
    assert (ImageFolder(size=8, resize=True).read(folder, 'train').pixels[3] == (77, 20, 30)).all()


def test_classes_must_be_those_of_the_other_split(folder):
    save(folder / 'test/bird/0.png', picture(1))
    save(folder / 'train/eel/0.png', picture(1))
    with pytest.raises(DataListError, match='train and test have different classes; only in train: eel; only in test: '
                                            'bird'):
        ImageFolder(size=8).read(folder, 'train')


@pytest.mark.parametrize(('suffix', 'keep', 'message'), [
    ('.png', -20, 'is cut off after'), ('.jpg', -20, 'is cut off after'), ('.png', 0, r'is no picture \(0 bytes\)'),
    ('.bmp', 30, 'is no picture|cannot be decoded')])
def test_pictures_that_cannot_be_read_are_named(folder, suffix, keep, message):
    file = folder / f'train/cat/bad{suffix}'
    save(file, picture(50))
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataListError, match=f'bad{suffix}: ({message})'):
        ImageFolder(size=8).read(folder, 'train')


def test_folders_that_hold_nothing(folder):
    (folder / 'train/ant').mkdir()
    (folder / 'test/ant').mkdir()
    with pytest.raises(DataListError, match='train: no pictures in ant; it must hold a folder of pictures'):
        ImageFolder(size=8).read(folder, 'train')
    shutil.rmtree(folder / 'test')
    with pytest.raises(DataListError, match='test: no such folder'):
        ImageFolder(size=8).read(folder, 'test')
    with pytest.raises(DataListError, match='has no folder train or test'):
        ImageFolder(size=8).files(folder / 'train')


HEADER = ['split', 'label', 'class', 'file', 'offset', 'length']


def write_packed(root, rows=None, header=HEADER, sizes=((8, 8),) * 6):
    """Writes six PNG pictures of classes cat and dog, four to train on, and an index of them, or of `rows`."""
    pictures = [cv2.imencode('.png', picture(place, size=size)[..., ::-1])[1].tobytes()
                for place, size in enumerate(sizes)]
    offsets = np.cumsum([0, *map(len, pictures)])
    entries = [['train' if place < 4 else 'test', place % 2, ('cat', 'dog')[place % 2], f'{place}.png', offsets[place],
                len(pictures[place])] for place in range(6)]
    text = io.StringIO()
    csv.writer(text).writerows([header, *(rows(entries) if rows else entries)])
    (root / 'images.dat.xz').write_bytes(lzma.compress(b''.join(pictures)))
    (root / 'index.csv.xz').write_bytes(lzma.compress(text.getvalue().encode()))
    return PackedImages(data='images.dat.xz')


def test_packed_images(tmp_path):
    reader = write_packed(tmp_path)
    train, test = reader.read(tmp_path, 'train'), reader.read(tmp_path, 'test')
    assert train.pixels[:, 0, 0].tolist() == [[place, 20, 30] for place in range(4)]
    assert test.pixels[:, 7, 7, 0].tolist() == [4, 5] and test.labels.tolist() == [0, 1]
    assert train.classes == ('cat', 'dog') and train.names == ('cat/0.png', 'dog/1.png', 'cat/2.png', 'dog/3.png')
    assert PackedImages('images.dat.xz', train_images=2).read(tmp_path, 'train').names == ('cat/0.png', 'dog/1.png')
    assert reader.files(tmp_path) == [tmp_path / 'images.dat.xz', tmp_path / 'index.csv.xz']


def test_packed_images_need_not_be_compressed(tmp_path):
    write_packed(tmp_path)
    for name in ('images.dat', 'index.csv'):
        (tmp_path / name).write_bytes(lzma.decompress((tmp_path / f'{name}.xz').read_bytes()))
    assert len(PackedImages('images.dat', 'index.csv').read(tmp_path, 'test').pixels) == 2


def altered(place, column, value):
    """Returns a change of one value of an index."""
    def change(entries):
        entries[place][HEADER.index(column)] = value
        return entries
    return change


@pytest.mark.parametrize(('rows', 'message'), [
    (altered(2, 'offset', -1), r'index.csv.xz: 1 bad line\n.*index.csv.xz:4: offset is an integer, 0 or more'),
    (altered(2, 'length', 0), 'index.csv.xz:4: length is an integer, 1 or more'),
    (altered(2, 'length', 10**30), 'index.csv.xz:4: length is an integer, 1 or more and below 4294967296'),
    (altered(3, 'label', 'dog'), "index.csv.xz:5: label is an integer, 0 or more and below 4294967296, not 'dog'"),
    (altered(3, 'label', 2), r'labels must be 0, 1, ..., each with a class name of its own, not 0=cat, 1=dog, 2=dog'),
    (lambda entries: [*entries[:2], entries[2][:4]], 'index.csv.xz:4: 4 fields instead of 6'),
    (altered(1, 'length', 10**6), r'images.dat.xz: train dog/1.png at byte \d+: ends after the file does'),
    (altered(1, 'length', 50), r'train dog/1.png at byte \d+: is cut off after 50 bytes'),
    (altered(1, 'offset', 3), 'train dog/1.png at byte 3: is no picture'),
    (lambda entries: entries[4:], "no rows with split 'train'; there are 'test'")])
def test_an_index_that_is_wrong(tmp_path, rows, message):
    with pytest.raises(DataListError, match=message):
        write_packed(tmp_path, rows).read(tmp_path, 'train')


def test_packed_files_that_are_damaged(tmp_path):
    with pytest.raises(DataListError, match="index.csv.xz:1: the header is 'split,name' instead of 'split,label,class"):
        write_packed(tmp_path, header=['split', 'name']).read(tmp_path, 'train')
    with pytest.raises(DataListError, match=r'train cat/2.png .*: has shape \(8, 9, 3\), the first one \(8, 8, 3\)'):
        write_packed(tmp_path, sizes=[(8, 8), (8, 8), (8, 9), (8, 8), (8, 8), (8, 8)]).read(tmp_path, 'train')
    reader = write_packed(tmp_path)
    file = tmp_path / 'images.dat.xz'
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataListError, match='images.dat.xz: cannot be read, or is damaged'):
        reader.read(tmp_path, 'test')
    file.unlink()
    with pytest.raises(DataListError, match='images.dat.xz: no such file'):
        reader.read(tmp_path, 'train')


def test_every_reader_knows_two_splits(folder):
    with pytest.raises(DataListError, match="images have the splits train and test, not 'val'"):
        ImageFolder().read(folder, 'val')


def test_names_are_one_for_each_image():
    with pytest.raises(DataListError, match='1 names for 6 images'):
        ImageArrays(PIXELS, LABELS, names=('one',))


def test_readers_are_built_from_a_config():
    for name, kind in (('CIFAR', CIFAR), ('NPZ', NPZ), ('ImageFolder', ImageFolder), ('PackedImages', PackedImages)):
        assert isinstance(build(IMAGES, dict(type=name), 'data.images'), kind)


@pytest.mark.skipif('FEDVSSL_DATA' not in os.environ, reason='FEDVSSL_DATA is not set')
def test_the_real_images():
    root = Path(os.environ['FEDVSSL_DATA']) / 'cifar10'
    with lzma.open(root / 'index.csv.xz', 'rt') as stream:
        counts = {}
        for row in csv.DictReader(stream):
            counts[row['split'], row['class']] = counts.get((row['split'], row['class']), 0) + 1
    classes = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
    assert counts == {(split, name): count for split, count in (('train', 5000), ('test', 1000)) for name in classes}
    few = PackedImages(train_images=100).read(root, 'train')
    assert few.pixels.shape == (100, 32, 32, 3) and few.classes == classes
    assert np.bincount(few.labels).tolist() == [10] * 10
    test = PackedImages().read(root, 'test')
    assert np.bincount(test.labels).tolist() == [1000] * 10
    # CIFAR-10's own means are 0.4914, 0.4822, 0.4465: red, green, blue, in this order
    np.testing.assert_allclose(test.pixels.mean((0, 1, 2)) / 255, (0.494, 0.485, 0.450), atol=0.005)


def test_moving_a_picture_to_another_class_changes_the_digest(tmp_path):
    for place, name in enumerate(('cat', 'cat', 'dog', 'dog')):
        save(tmp_path / 'train' / name / f'{place}.png', picture(place))
    data = from_dict(image_values(root=str(tmp_path), images=dict(type='ImageFolder', size=8))).data
    first = list_digests(data)
    (tmp_path / 'train/dog/2.png').rename(tmp_path / 'train/cat/2.png')  # neither order nor names nor bytes change
    assert list_digests(data) != first
