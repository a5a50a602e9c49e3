"""Images as the rest of the package sees them: items, batches, digests, and what a config may say of them."""

import numpy as np
import pytest
import torch

from fedvssl.config import check_types, config_hash, from_dict
from fedvssl.data.dataset import build_dataset, list_digests, read_videos
from fedvssl.data.images.generated import SHAPES, GeneratedImages
from fedvssl.data.loader import build_loader
from fedvssl.data.partitioners import build_partitions
from fedvssl.errors import ConfigError, DataListError
from fedvssl.training.labels import visible
from tests.conftest import image_values


@pytest.fixture
def config():
    return from_dict(image_values())


def loader_of(config, batch_size=5):
    items = read_videos(config.data, 'train')
    return build_loader(build_dataset(config.data, config.data.train, items, replace_bad=True), batch_size)


def test_generated_images_are_the_same_every_time():
    first, again = (GeneratedImages(16, 8).read('.', 'train') for _ in range(2))
    assert np.array_equal(first.pixels, again.pixels) and first.pixels.shape == (16, 32, 32, 3)
    assert first.labels.tolist() == 2 * list(range(8)) and first.classes == SHAPES
    others = [GeneratedImages(16, 8, seed=1).read('.', 'train').pixels,
              GeneratedImages(16, 16).read('.', 'test').pixels]
    assert not any(np.array_equal(first.pixels, other) for other in others)


def test_neither_colour_nor_place_tells_a_shape():
    """Mean colours of the classes are alike, and the nearest neighbour by pixels is seldom of the same class."""
    arrays = GeneratedImages(400, 80).read('.', 'train')
    flat = arrays.pixels.reshape(400, -1).astype(np.float32)
    means = np.array([arrays.pixels[arrays.labels == label].mean(axis=(0, 1, 2)) for label in range(8)])
    assert means.std(axis=0).max() < 20
    distances = np.square(flat).sum(1)[:, None] + np.square(flat).sum(1) - 2 * flat @ flat.T
    np.fill_diagonal(distances, np.inf)
    assert (arrays.labels[distances.argmin(1)] == arrays.labels).mean() < 0.25  # chance 0.125


def test_items_name_split_and_place(config):
    items = read_videos(config.data, 'test')
    assert [item.path for item in items[:2]] == ['test/00000', 'test/00001'] and len(items) == 16
    assert [item.label for item in items[:3]] == [0, 1, 2]
    with pytest.raises(DataListError, match='splits train and test, not .dev.'):
        read_videos(config.data, 'dev')
    with pytest.raises(DataListError, match='a split of the images must be named'):
        read_videos(config.data, None)


def test_batches_are_rows_of_the_set(config):
    """Filled up from the front, as for videos; each batch has a seed of its own."""
    loader = loader_of(config)
    pixels = loader.dataset.pixels
    batches = list(loader.shuffled(np.arange(32), 7, 'epoch', 1))
    assert [len(batch['inputs']) for batch in batches] == 7 * [5]
    seeds = [int(batch['data_samples']['seed']) for batch in batches]
    assert len(set(seeds)) == 7 and min(seeds) >= 0
    first, rest = batches[0], torch.cat([batch['inputs'] for batch in batches])
    assert torch.equal(rest[:3], rest[-3:]) and first['inputs'].dtype == torch.uint8
    found = {tensor.numpy().tobytes() for tensor in rest}
    assert found == {tensor.numpy().tobytes() for tensor in pixels}
    again = list(loader.shuffled(np.arange(32), 7, 'epoch', 1))
    assert all(torch.equal(one['inputs'], two['inputs']) for one, two in zip(batches, again, strict=True))
    other = next(loader.shuffled(np.arange(32), 7, 'epoch', 2))
    assert not torch.equal(other['inputs'], first['inputs'])
    in_order = list(loader.in_order(np.arange(7), 7, 'test'))
    assert [len(batch['inputs']) for batch in in_order] == [5, 2]
    assert torch.equal(torch.cat([batch['inputs'] for batch in in_order]), pixels[:7])


def test_part_of_a_set_keeps_its_pixels_and_labels(config):
    items = [item for item in read_videos(config.data, 'train') if item.label == 3]
    dataset = build_dataset(config.data, config.data.train, items, replace_bad=True)
    whole = GeneratedImages(32, 16).read('.', 'train')
    assert np.array_equal(dataset.pixels.numpy(), whole.pixels[whole.labels == 3])
    assert dataset.labels.tolist() == [3] * 4


def test_the_partitions_are_those_of_labels(config):
    data = from_dict(image_values(partition=dict(type='ClassBlocksPartitioner', num_clients=4,
                                                 classes_per_client=2))).data
    items = read_videos(data, 'train')
    partitions = build_partitions(data, items, 7)
    assert [sorted({items[index].label for index in part}) for part in partitions] == [
        sorted(labels) for labels in [{items[index].label for index in part} for part in partitions]]
    assert all(len({items[index].label for index in part}) == 2 for part in partitions)
    assert sorted(np.concatenate(partitions).tolist()) == list(range(32))


def test_the_digest_is_that_of_the_files(tmp_path):
    def digest():
        return list_digests(from_dict(image_values(root=str(tmp_path), images=dict(type='NPZ'))).data)

    arrays = GeneratedImages(8, 8).read('.', 'train')
    parts = dict(train_images=arrays.pixels, train_labels=arrays.labels, test_images=arrays.pixels,
                 test_labels=arrays.labels)
    np.savez(tmp_path / 'images.npz', **parts)
    first = digest()
    assert list(first) == ['images_sha256'] and digest() == first
    np.savez(tmp_path / 'images.npz', **parts | dict(train_images=255 - arrays.pixels))
    assert digest() != first


def test_labels_are_withheld_but_from_a_method_that_learns_from_them(config):
    items = read_videos(config.data, 'train')
    assert {item.label for item in visible(dict(type='SimCLR'), items)} == {-1}
    assert visible(dict(type='SupCon'), items) == items
    with pytest.raises(DataListError, match=r'train/00000 \(line 1 of its list\) has no label, and SupCon learns'):
        visible(dict(type='SupCon'), visible(dict(type='SimCLR'), items))


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(train=dict(split='train', sampler=dict(type='VCOPSampler'))), 'data.train: images have neither sampler nor'),
    (dict(images=dict(type='GeneratedImage')), "data.images.type: unknown type 'GeneratedImage'; did you mean"),
    (dict(images=dict(type='GeneratedImages', sise=3)), 'data.images.sise: unknown argument .* did you mean .size'),
])
def test_what_a_config_says_wrong(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_types(from_dict(image_values(**changes)))


def test_videos_still_need_a_sampler():
    values = image_values()
    values['data'].pop('images')
    with pytest.raises(ConfigError, match='data.train.sampler: is required and missing'):
        from_dict(values)


def test_the_set_is_part_of_the_hash():
    hashes = {config_hash(from_dict(image_values(images=dict(type='GeneratedImages', seed=seed)))) for seed in (0, 1)}
    assert len(hashes) == 2
