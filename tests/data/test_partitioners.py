import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvssl.config import from_dict
from fedvssl.data.annotations import Video, read_annotations
from fedvssl.data.client_lists import write_client_lists
from fedvssl.data.partitioners import (
    ClassBlocksPartitioner,
    ColumnPartitioner,
    DirichletPartitioner,
    IIDPartitioner,
    ListsPartitioner,
    ShardsPartitioner,
    build_partitions,
)
from fedvssl.errors import ConfigError, DataListError
from fedvssl.registry import PARTITIONERS
from tests.conftest import tiny_values


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
    with pytest.raises(DataListError, match="column 'subject': num_clients=3, .* only 2 values: client 0 "):
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


BY_CLASS = [ClassBlocksPartitioner(4, 2), DirichletPartitioner(3, 0.5), ShardsPartitioner(4)]


def labelled(labels, prefix='', extension='.mp4'):
    return [Video(f'{prefix}{index:03}{extension}', int(label), dict(site=str(label)), index + 2)
            for index, label in enumerate(labels)]


@pytest.mark.parametrize('partitioner', [IIDPartitioner(5), ColumnPartitioner('site', 3), *BY_CLASS],
                         ids=lambda scheme: type(scheme).__name__)
@settings(deadline=None, max_examples=25)
@given(data=st.data(), seed=st.integers(0, 2**63))
def test_shuffled_lists_give_the_same_clients(partitioner, data, seed):
    train, test = labelled(np.arange(40) % 4), labelled(np.arange(12) % 4, 'test')
    shuffled = data.draw(st.permutations(train))
    shuffled_test = data.draw(st.permutations(test))
    parts = partitioner(train, seed)
    assert_partition(parts, 40)

    def paths(videos, dealt):
        return [{videos[index].path for index in part} for part in dealt]

    assert paths(shuffled, partitioner(shuffled, seed)) == paths(train, parts)
    held_out = partitioner.held_out(train, test, seed)
    assert sorted(np.concatenate(held_out).tolist()) == list(range(12))
    assert paths(shuffled_test, partitioner.held_out(shuffled, shuffled_test, seed)) == paths(test, held_out)


def test_clients_are_tested_on_the_classes_they_train_on():
    train, test = labelled(np.arange(40) % 4), labelled(np.arange(16) % 4)
    partitioner = ClassBlocksPartitioner(4, 2)
    for part, held_out in zip(partitioner(train, 7), partitioner.held_out(train, test, 7), strict=True):
        assert len(held_out) == 4
        assert {test[index].label for index in held_out} == {train[index].label for index in part}


@pytest.mark.parametrize('partitioner', BY_CLASS, ids=lambda partitioner: type(partitioner).__name__)
def test_partitions_by_class_need_labels(partitioner):
    with pytest.raises(DataListError, match='by class, and the annotation list has no labels; add a column "label"'):
        partitioner(labelled([-1] * 40), 7)


@pytest.mark.parametrize(('cfg', 'message'), [
    (dict(type='IIDPartitioner', num_clients=2.5), 'num_clients=2.5 must be a whole number'),
    (dict(type='IIDPartitioner', num_clients='abc'), "num_clients='abc' must be a whole number"),
    (dict(type='IIDPartitioner', num_clients=True), 'num_clients=True must be a whole number'),
    (dict(type='DirichletPartitioner', num_clients=4, alpha='1'), "alpha='1' must be positive"),
    (dict(type='ListsPartitioner', directory=3), 'directory=3 must be text'),
    (dict(type='ClassBlocksPartitioner', num_clients=4, classes_per_client=0), 'classes_per_client=0 must be'),
    (dict(type='DirichletPartitioner', num_clients=4, alpha=-1), 'alpha=-1 must be positive'),
    (dict(type='ShardsPartitioner', num_clients=0), 'num_clients=0 must be'),
])
def test_arguments_are_checked_when_built(cfg, message):
    with pytest.raises(DataListError, match=message):
        PARTITIONERS.build(cfg)


def entries(*names):
    return [dict(name=name, label=1) for name in names]


@pytest.mark.parametrize('form', ['{0}/{1}', '{0}/{1}.mp4', '{1}.avi', 'zips/{0}/{1}.zip'])
def test_clients_from_published_lists(tmp_path, form, caplog):
    write_client_lists(tmp_path, [entries('ant/x_000001_000011', 'bee/z'), entries('bee/y.z', 'bee/gone', 'bee/z')])
    names = [('bee', 'z'), ('ant', 'x_000001_000011'), ('cow', 'w'), ('bee', 'y.z')]
    videos = [Video(form.format(*name), 0, {}, line) for line, name in enumerate(names, 2)]
    parts = ListsPartitioner(str(tmp_path))(videos, seed=7)
    assert [part.tolist() for part in parts] == [[0, 1], [0, 3]]
    assert '1 of 5 videos that the client lists name are not in the annotation list' in caplog.text
    assert [part.tolist() for part in ListsPartitioner(str(tmp_path)).held_out(videos, videos[:2], 7)] == [[1], [0]]


def test_the_column_name_says_what_a_video_is_called(tmp_path):
    write_client_lists(tmp_path, [entries('ant/x'), entries('bee/y')])
    videos = [Video(f'{name}/RGB_frames.zip', 0, {'name': name}, 2) for name in ('bee/y', 'ant/x')]
    assert [part.tolist() for part in ListsPartitioner(str(tmp_path))(videos, 7)] == [[1], [0]]


def test_client_lists_that_do_not_fit(tmp_path):
    with pytest.raises(DataListError, match='no client_dist1.json; name the directory'):
        ListsPartitioner(str(tmp_path / 'none'))(labelled([0]), 7)
    write_client_lists(tmp_path, [entries('a'), entries('b'), entries('c')])
    with pytest.raises(DataListError, match=r"client_dist1.json: none of its 1 videos, such as 'a', is in the .* '000"):
        ListsPartitioner(str(tmp_path))(labelled([0]), 7)
    (tmp_path / 'client_dist2.json').unlink()
    with pytest.raises(DataListError, match='client_dist2.json is missing, though there is client_dist3.json'):
        ListsPartitioner(str(tmp_path))(labelled([0]), 7)


def test_few_held_out_videos_leave_clients_with_none():
    dealt = IIDPartitioner(5).held_out(labelled([0] * 9), labelled([0] * 3), 7)
    assert sorted(map(len, dealt)) == [0, 0, 1, 1, 1]


def test_what_a_config_says_wrong_is_an_error_of_the_config(tiny_videos):
    data = from_dict(tiny_values(tiny_videos)).data
    with pytest.raises(ConfigError, match='data.partition: num_clients=0 must be at least 1'):
        build_partitions(replace(data, partition=dict(type='IIDPartitioner', num_clients=0)), labelled([0]), 7)
    with pytest.raises(DataListError, match='data.partition: num_clients=4, but there are only 1 videos'):
        build_partitions(replace(data, partition=dict(type='IIDPartitioner', num_clients=4)), labelled([0]), 7)
