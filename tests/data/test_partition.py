import csv
import json
import lzma
import os
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvssl.data import partition
from fedvssl.errors import DataListError

KINETICS = Path(os.environ.get('FEDVSSL_DATA', '')) / 'kinetics400'
needs_data = pytest.mark.skipif('FEDVSSL_DATA' not in os.environ, reason='FEDVSSL_DATA is not set')

# What the property tests draw: at least 8 videos of each of 4 classes, in any order, which 4 or 8 clients can share.
LABELS = st.lists(st.integers(0, 3), max_size=50).flatmap(
    lambda more: st.permutations([*range(4)] * 8 + more)).map(np.array)
NUM_CLIENTS = st.sampled_from([4, 8])
SEEDS = st.integers(0, 2**63)
TRUE_PARTITIONS = {
    'iid': lambda labels, n, seed: partition.iid(len(labels), n, seed),
    'published_iid': lambda labels, n, seed: partition.published_iid(len(labels), n, seed),
    'class_blocks of one': lambda labels, n, seed: partition.class_blocks(labels, n, 1, seed),
    'class_blocks of two': lambda labels, n, seed: partition.class_blocks(labels, n, 2, seed),
    'dirichlet': lambda labels, n, seed: partition.dirichlet(labels, n, 0.5, seed),
    'shards': lambda labels, n, seed: partition.shards(labels, n, 2, seed),
}


def lists(parts):
    return [part.tolist() for part in parts]


@pytest.mark.parametrize('scheme', TRUE_PARTITIONS)
@settings(deadline=None, max_examples=60)  # the machine may be loaded
@given(labels=LABELS, num_clients=NUM_CLIENTS, seed=SEEDS)
def test_every_video_is_on_exactly_one_client(scheme, labels, num_clients, seed):
    parts = TRUE_PARTITIONS[scheme](labels, num_clients, seed)
    assert len(parts) == num_clients and all(len(part) and part.dtype == np.int64 for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    assert lists(TRUE_PARTITIONS[scheme](labels, num_clients, seed)) == lists(parts)


@pytest.mark.parametrize('scheme', TRUE_PARTITIONS)
@settings(deadline=None, max_examples=60)
@given(labels=LABELS, num_clients=NUM_CLIENTS, seed=SEEDS, data=st.data())
def test_shuffling_the_list_moves_no_video(scheme, labels, num_clients, seed, data):
    names = [f'v{number:03}' for number in range(len(labels))]
    shuffle = np.array(data.draw(st.permutations(range(len(labels)))))

    def held(order):
        parts = partition.independent_of_order([names[index] for index in order], lambda sorted_order: (
            TRUE_PARTITIONS[scheme](labels[order][sorted_order], num_clients, seed)))
        return [[names[order[index]] for index in part] for part in parts]

    assert held(shuffle) == held(np.arange(len(labels)))


@settings(deadline=None)
@given(count=st.integers(1, 300), data=st.data(), seed=SEEDS)
def test_iid_sizes(count, data, seed):
    num_clients = data.draw(st.integers(1, count))
    sizes = [(k + 1) * count // num_clients - k * count // num_clients for k in range(num_clients)]
    assert [len(part) for part in partition.iid(count, num_clients, seed)] == sizes
    assert [len(part) for part in partition.published_iid(count, num_clients, seed)] == sizes


def test_iid_golden():
    # PCG64 seeded with blake2b('7\x1fpartition') permutes 0..7 to 2 0 5 7 6 1 3 4; the cuts are at 2 and 5.
    assert lists(partition.iid(8, 3, 7)) == [[2, 0], [5, 7, 6], [1, 3, 4]]
    # Python's generator with seed 7 shuffles 0..7 to 6 7 2 4 0 3 1 5.
    assert lists(partition.published_iid(8, 3, 7)) == [[6, 7], [2, 4, 0], [3, 1, 5]]


@settings(deadline=None, max_examples=60)
@given(sizes=st.lists(st.integers(4, 12), min_size=6, max_size=6), per_client=st.sampled_from([1, 2, 3, 6]),
       holders=st.integers(1, 4), seed=SEEDS)
def test_class_blocks(sizes, per_client, holders, seed):
    labels = np.repeat(np.arange(6), sizes)
    blocks = 6 // per_client
    parts = partition.class_blocks(labels, blocks * holders, per_client, seed)
    held = [set(labels[part].tolist()) for part in parts]
    assert all(len(classes) == per_client for classes in held)
    assert all(held[client] == held[client % blocks] for client in range(len(parts)))
    for label, size in enumerate(sizes):
        shares = [np.count_nonzero(labels[part] == label) for part, classes in zip(parts, held, strict=True)
                  if label in classes]
        assert len(shares) == holders and max(shares) - min(shares) <= 1 and sum(shares) == size


def test_class_blocks_pair_the_smallest_with_the_largest():
    labels = np.repeat(np.arange(8), [8, 1, 7, 2, 6, 3, 5, 4])
    parts = partition.class_blocks(labels, 2, 4, seed=7)
    assert [list(dict.fromkeys(labels[part].tolist())) for part in parts] == [[1, 3, 2, 0], [5, 7, 6, 4]]
    assert [len(part) for part in partition.class_blocks(labels, 4, 2, seed=7)] == [9, 9, 9, 9]


@pytest.mark.parametrize(('num_clients', 'per_client', 'message'), [
    (4, 4, 'classes_per_client=4 does not divide the 6 classes; use one of 1, 2, 3, 6'),
    (4, 2, '6 classes, 2 per client, make 3 blocks, which 4 clients cannot share evenly; use a multiple of 3'),
    (6, 0, 'classes_per_client=0 does not divide'),
    (0, 2, 'num_clients=0 must be at least 1'),
    (60, 2, r'num_clients=60: 20 clients are to share class 0 \(counted from 0\), which has 5 videos'),
])
def test_class_blocks_that_do_not_come_out_even(num_clients, per_client, message):
    with pytest.raises(DataListError, match=message):
        partition.class_blocks(np.repeat(np.arange(6), 5), num_clients, per_client, 7)


@settings(deadline=None, max_examples=30)
@given(alpha=st.sampled_from([0.01, 0.3, 1.0, 30.0]), min_videos=st.integers(1, 8), seed=SEEDS)
def test_dirichlet_leaves_no_client_with_less_than_asked(alpha, min_videos, seed):
    labels = np.repeat(np.arange(40), 20)
    parts = partition.dirichlet(labels, 5, alpha, seed, min_videos)
    assert min(map(len, parts)) >= min_videos
    for label in range(40):
        assert sum(np.count_nonzero(labels[part] == label) for part in parts) == 20


def test_dirichlet_is_as_uneven_as_alpha_says():
    # The share of a class that a client has is Beta(a, (N - 1) a): variance (1/N)(1 - 1/N) / (N a + 1).
    labels = np.repeat(np.arange(300), 200)
    for alpha in (0.1, 1.0, 10.0):
        parts = partition.dirichlet(labels, 5, alpha, seed=7)
        shares = np.array([np.bincount(labels[part], minlength=300) for part in parts]) / 200
        assert np.isclose(shares.var(), 0.2 * 0.8 / (5 * alpha + 1), rtol=0.15)


@pytest.mark.parametrize('alpha', [0, -1, float('nan'), float('inf')])
def test_dirichlet_refuses_an_alpha_that_is_none(alpha):
    with pytest.raises(DataListError, match='alpha=.* must be positive and finite'):
        partition.dirichlet(np.zeros(9, int), 2, alpha, 7)


def test_dirichlet_gives_up():
    with pytest.raises(DataListError, match=r'100 draws with alpha=1 left one of 4 clients with fewer than 3 of 9'):
        partition.dirichlet(np.zeros(9, int), 4, 1, 7, min_videos=3)


def test_shards_hold_few_classes():
    labels = np.tile(np.arange(10), 12)
    parts = partition.shards(labels, 6, 2, seed=7)
    assert [len(part) for part in parts] == [20] * 6
    assert all(len(set(labels[part].tolist())) <= 4 for part in parts)
    with pytest.raises(DataListError, match='num_shards=12, but there are only 9 videos: shard'):
        partition.shards(np.zeros(9, int), 6, 2, 7)
    with pytest.raises(DataListError, match='shards_per_client=0 must be at least 1'):
        partition.shards(labels, 6, 0, 7)


def published_by_hand(labels, num_classes):
    """The published script, step by step, on numbers instead of names."""
    import random

    groups = [[index for index, label in enumerate(labels) if label == wanted] for wanted in range(num_classes)]
    by_size = sorted(((label, len(group)) for label, group in enumerate(groups)), key=lambda pair: pair[1])
    clients = {}
    for i in range(50):
        one, two = [], []
        for (small, _), (large, _) in zip(by_size[i:i + 4], by_size[-i - 5:-i - 1], strict=True):
            for label, seed in ((small, 1234), (large, 4321)):
                random.seed(seed)
                random.shuffle(groups[label])
                middle = len(groups[label]) // 2
                one += groups[label][:middle]
                two += groups[label][middle:]
        clients[i], clients[i + 50] = one, two
    return [clients[client] for client in range(100)]


def test_published_window_on_generated_labels():
    labels = np.random.default_rng(0).integers(0, 120, 3000)
    assert lists(partition.published_window(labels, 120)) == published_by_hand(labels.tolist(), 120)
    with pytest.raises(DataListError, match='at least 54 classes; num_classes is 53, the labels are 0..52'):
        partition.published_window(np.arange(53), 53)
    with pytest.raises(DataListError, match='num_classes is 400, the labels are 0..400'):
        partition.published_window(np.arange(401), 400)
    with pytest.raises(DataListError, match='client 0, 1, 2, .* would have no data'):
        partition.published_window(np.arange(400), 400)


def test_mirrored_follows_what_the_clients_train_on():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
    parts = [np.array([0, 1, 2, 4]), np.array([3, 5]), np.array([6, 7, 8])]
    held_out = np.array([2, 0, 1, 0, 1, 0, 0, 2])
    assert lists(partition.mirrored(parts, labels, held_out)) == [[1, 2, 3, 5], [4, 6], [0, 7]]
    with pytest.raises(DataListError, match='no client trains on class 3, so none can be tested on it'):
        partition.mirrored(parts, labels, np.array([3, 0]))


@settings(deadline=None, max_examples=60)
@given(labels=LABELS, held_out=LABELS, num_clients=st.integers(1, 30), seed=SEEDS)
def test_mirrored_deals_every_held_out_video_once(labels, held_out, num_clients, seed):
    dealt = partition.mirrored(partition.iid(len(labels), num_clients, seed), labels, held_out)
    assert len(dealt) == num_clients
    assert sorted(np.concatenate(dealt).tolist()) == list(range(len(held_out)))


def test_digest_tells_partitions_apart():
    parts = [np.array([0, 1]), np.array([2])]
    assert partition.digest(parts) == partition.digest([part.astype(np.int32) for part in parts])
    others = [[np.array([0]), np.array([1, 2])], [np.array([1, 0]), np.array([2])], [np.array([0, 1, 2])]]
    assert len({partition.digest(other) for other in [parts, *others]}) == 4


@pytest.fixture(scope='module')
def kinetics():
    """Names and labels (counted from 1) of the list behind the published splits."""
    rows = [line.split() for line in lzma.decompress((KINETICS / 'train_in_official.txt.xz').read_bytes()).decode()
            .splitlines()]
    return [name for name, _ in rows], np.array([int(label) for _, label in rows])


@needs_data
def test_the_published_iid_lists_byte_for_byte(kinetics):
    names, labels = kinetics
    digests = [line.split() for line in (KINETICS / 'fedvssl_client_files.sha256').read_text().splitlines()]
    expected = {file: digest for digest, file in digests}
    for number, part in enumerate(partition.published_iid(len(names)), 1):
        text = json.dumps([dict(name=names[index], label=int(labels[index])) for index in part], indent=2)
        assert sha256(text.encode()).hexdigest() == expected[f'iid/client_dist{number}.json'], number


@needs_data
def test_the_published_windows(kinetics):
    parts = partition.published_window(kinetics[1] - 1)
    with (KINETICS / 'fedvssl_noniid_clients.csv').open() as stream:
        for row, part in zip(csv.DictReader(stream), parts, strict=True):
            labels = kinetics[1][part]
            starts = np.flatnonzero(np.r_[True, np.diff(labels) != 0])
            assert labels[starts].tolist() == [int(label) for label in row['labels_in_file_order'].split()]
            assert np.diff(np.r_[starts, len(labels)]).tolist() == [int(count) for count in row['counts'].split()]
    copies = np.bincount(np.concatenate(parts), minlength=len(kinetics[1]))
    assert np.bincount(copies)[1:].tolist() == [2272, 2271, 2280, 53682]  # parsed from the published files
    assert len(np.unique(kinetics[1][np.concatenate(parts)])) == 106


@needs_data
def test_class_blocks_of_kinetics(kinetics):
    labels = kinetics[1]
    parts = partition.class_blocks(labels, 100, 8, seed=7)
    sizes = sorted(map(len, parts))
    assert (sizes[0], sizes[-1], sum(sizes), len(np.unique(np.concatenate(parts)))) == (2118, 2316, 219664, 219664)
    held = [np.unique(labels[part]) for part in parts]
    assert all(len(classes) == 8 for classes in held)
    assert np.bincount(np.concatenate(held))[1:].tolist() == [2] * 400
