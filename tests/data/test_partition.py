import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvssl.data.annotations import Video, read_annotations
from fedvssl.data.partition import ColumnPartitioner, IIDPartitioner
from fedvssl.errors import DataListError
from fedvssl.registry import PARTITIONERS


def videos_with(values, column='subject'):
    return [Video(f'{index}.mp4', 0, {column: value}, index + 2) for index, value in enumerate(values)]


def assert_partition(parts, count):
    for part in parts:
        assert part.dtype == np.int64
        assert len(part) > 0
        assert (np.diff(part) > 0).all()
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))


@settings(deadline=None)  # the machine may be loaded
@given(count=st.integers(1, 300), data=st.data(), seed=st.integers(0, 2**63))
def test_iid_gives_every_video_to_one_client(count, data, seed):
    num_clients = data.draw(st.integers(1, count))
    videos = videos_with(['x'] * count)
    parts = IIDPartitioner(num_clients)(videos, seed)
    assert_partition(parts, count)
    assert [len(part) for part in parts] == [(k + 1) * count // num_clients - k * count // num_clients
                                             for k in range(num_clients)]
    again = IIDPartitioner(num_clients)(videos, seed)
    assert all(np.array_equal(one, other) for one, other in zip(parts, again, strict=True))


def test_iid_golden():
    # PCG64 seeded with blake2b('7\x1fpartition') permutes 0..7 to 2 0 5 7 6 1 3 4; the cuts are at 2 and 5.
    assert [part.tolist() for part in IIDPartitioner(3)(videos_with('abcdefgh'), 7)] == [[0, 2], [5, 6, 7], [1, 3, 4]]


def test_iid_depends_on_the_seed_and_neither_on_the_columns_nor_the_global_generator():
    plain, named = videos_with('ab' * 20), videos_with('ba' * 20, 'group')
    np.random.seed(1)
    first = IIDPartitioner(4)(plain, 1)
    np.random.seed(2)
    assert all(np.array_equal(one, other) for one, other in zip(first, IIDPartitioner(4)(named, 1), strict=True))
    assert any(not np.array_equal(one, other) for one, other in zip(first, IIDPartitioner(4)(plain, 2), strict=True))


@settings(deadline=None)
@given(values=st.lists(st.sampled_from('abcdef'), min_size=1, max_size=60), seed=st.integers(0, 2**63))
def test_column_gives_one_client_per_value(values, seed):
    videos = videos_with(values)
    parts = ColumnPartitioner('subject')(videos, seed)
    assert_partition(parts, len(values))
    assert [{values[index] for index in part} for part in parts] == [{value} for value in sorted(set(values))]
    shuffled = [Video(v.path, v.label, dict(reversed([*v.columns.items(), ('z', '1')])), v.line) for v in videos]
    assert all(np.array_equal(one, other) for one, other
               in zip(parts, ColumnPartitioner('subject')(shuffled, seed + 1), strict=True))


@settings(deadline=None)
@given(values=st.lists(st.sampled_from('abcdef'), min_size=1, max_size=60), data=st.data())
def test_column_with_fewer_clients_never_cuts_a_value(values, data):
    num_clients = data.draw(st.integers(1, len(set(values))))
    parts = ColumnPartitioner('subject', num_clients)(videos_with(values), 0)
    assert len(parts) == num_clients
    assert_partition(parts, len(values))
    held = [sorted({values[index] for index in part}) for part in parts]
    assert [value for client in held for value in client] == sorted(set(values))


def test_column_golden():
    parts = ColumnPartitioner('subject')(videos_with(['10', '9', '10', 'b', '9']), 0)
    assert [part.tolist() for part in parts] == [[0, 2], [1, 4], [3]]


@pytest.mark.parametrize('num_clients', [0, -3])
def test_too_few_clients(num_clients):
    for build in (IIDPartitioner, lambda n: ColumnPartitioner('subject', n)):
        with pytest.raises(DataListError, match=f'num_clients={num_clients} must be at least 1'):
            build(num_clients)


def test_a_client_without_data_is_named():
    with pytest.raises(DataListError, match=r'num_clients=4, .* 3 videos: client 0 would have no data; use 1\.\.3'):
        IIDPartitioner(4)(videos_with('abc'), 0)
    with pytest.raises(DataListError, match="num_clients=3, .* only 2 values in column 'subject': client 0 "):
        ColumnPartitioner('subject', 3)(videos_with('abab'), 0)
    for partitioner in (IIDPartitioner(12), ColumnPartitioner('subject')):
        with pytest.raises(DataListError, match='client 0.* would have no data'):
            partitioner([], 0)


def test_unknown_column_and_empty_value():
    with pytest.raises(DataListError, match="no column 'subjct'.*did you mean 'subject'"):
        ColumnPartitioner('subjct')(videos_with('ab'), 0)
    with pytest.raises(DataListError, match=r"line 3 of the annotation list \('1.mp4'\).*column 'subject'"):
        ColumnPartitioner('subject')(videos_with(['a', '', 'b']), 0)


def test_built_from_a_config():
    assert PARTITIONERS.build({'type': 'IIDPartitioner', 'num_clients': 4}).num_clients == 4
    assert PARTITIONERS.build({'type': 'ColumnPartitioner', 'column': 'subject'}).num_clients is None
    with pytest.raises(DataListError):
        PARTITIONERS.build({'type': 'IIDPartitioner', 'num_clients': 0})


@pytest.mark.skipif('FEDVSSL_DATA' not in os.environ, reason='FEDVSSL_DATA is not set')
def test_real_list_by_subject():
    folder = Path(os.environ['FEDVSSL_DATA']) / 'video/asl24'
    videos = read_annotations(folder / 'clips.csv', folder)
    parts = ColumnPartitioner('subject')(videos, 0)
    assert_partition(parts, 841)
    assert len(parts) == 2
    assert_partition(IIDPartitioner(100)(videos, 0), 841)


def test_held_out_videos_go_to_the_client_that_trains_on_their_value():
    train = [Video(f'{site}{k}', 0, {'site': site}, 2 + k) for k, site in enumerate('ABCABC')]
    test = [Video(f't{k}', 0, {'site': site}, 20 + k) for k, site in enumerate('CBC')]
    partitioner = ColumnPartitioner('site')
    assert [part.tolist() for part in partitioner(train, 7)] == [[0, 3], [1, 4], [2, 5]]
    assert [part.tolist() for part in partitioner.held_out(train, test, 7)] == [[], [1], [0, 2]]
    with pytest.raises(DataListError, match="line 9 .*no client trains on site 'D'"):
        partitioner.held_out(train, [Video('x', 0, {'site': 'D'}, 9)], 7)
