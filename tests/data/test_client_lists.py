import json

import pytest

from fedvssl.data import client_lists
from fedvssl.data.client_lists import read_client_lists, write_client_lists
from fedvssl.errors import DataListError, StorageError

SPLIT = [[dict(name='ant/x', label=1)], [dict(name='bee/\u00fc', label=2), dict(name='bee/z', label=2)]]


def files(directory):
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def test_the_published_format(tmp_path):
    assert write_client_lists(tmp_path / 'made/here', SPLIT) == 2
    assert files(tmp_path / 'made/here') == {
        'client_dist1.json': b'[\n  {\n    "name": "ant/x",\n    "label": 1\n  }\n]',
        'client_dist2.json': json.dumps(SPLIT[1], indent=2).encode()}


def test_writing_again_changes_nothing(tmp_path):
    write_client_lists(tmp_path, SPLIT)
    assert write_client_lists(tmp_path, SPLIT) == 0


@pytest.mark.parametrize('other', [SPLIT[:1], SPLIT[::-1], [*SPLIT, SPLIT[0]]])
def test_another_split_is_not_mixed_with_this_one(tmp_path, other):
    write_client_lists(tmp_path, other)
    (tmp_path / 'notes.txt').write_bytes(b'mine')
    before = files(tmp_path)
    if len(other) > 1:
        with pytest.raises(StorageError, match='holds another split .* or replace them with --overwrite'):
            write_client_lists(tmp_path, SPLIT)
        assert files(tmp_path) == before
    write_client_lists(tmp_path, SPLIT, overwrite=True)
    fresh = tmp_path / 'fresh'
    write_client_lists(fresh, SPLIT)
    names = [file.name for file in tmp_path.iterdir() if file.is_file()]
    assert {name: (tmp_path / name).read_bytes() for name in names if name != 'notes.txt'} == files(fresh)


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(StorageError, match='file: cannot be written'):
        write_client_lists(tmp_path / 'file', SPLIT)


def test_what_an_interruption_leaves_is_no_split(tmp_path, monkeypatch):
    clients = [[dict(name=f'{split}{number}', label=1)] for split in 'ab' for number in range(4)]
    names = [entry[0]['name'] for entry in clients]
    for stop in range(1, 5):
        write_client_lists(tmp_path, clients[:4], overwrite=True)
        written = []

        def fail_at(file, data, stop=stop, written=written):
            if len(written) == stop:
                raise KeyboardInterrupt
            written.append(file)
            file.write_bytes(data)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(client_lists, 'write_file', fail_at)
            write_client_lists(tmp_path, [*clients[4:], clients[0]], overwrite=True)
        with pytest.raises(DataListError, match='is missing|no client_dist1.json'):
            read_client_lists(tmp_path, names)


@pytest.mark.parametrize(('names', 'paths', 'expected'), [
    (['s/1.cam1', 's/2.cam1'], ['s/1.cam1', 's/1.cam2', 's/2.cam1'], [0, 2]),
    (['s/1.cam1'], ['s/1.cam2.mp4', 's/1.cam1.mp4'], [1]),
    (['ice_skating/x', 'ice_skating/y'], ['zips/ice skating/y.zip', 'ice skating/x.MP4'], [1, 0]),
    (['c/x', 'a/x'], ['a/x.mp4'], [0]),
    (['c/x'], ['x.mp4', 'y.mp4'], [0]),
    (['x', 'y'], ['a/x.mp4', 'b/y.mp4'], [0, 1]),
    (['a/x.avi'], ['a/x.mp4', 'a/x.avi'], [1]),
])
def test_names_and_paths_of_the_same_video(tmp_path, names, paths, expected):
    write_client_lists(tmp_path, [[dict(name=name, label=1) for name in names]])
    assert read_client_lists(tmp_path, paths)[0].tolist() == expected


@pytest.mark.parametrize(('names', 'paths', 'message'), [
    (['a/x'], ['a/x.mp4', 'a/x.avi'], r"client_dist1.json: .*entry 1: 'a/x' could be 'a/x.mp4' or 'a/x.avi'"),
    (['x'], ['a/x.mp4', 'b/x.mp4'], "'x' could be 'a/x.mp4' or 'b/x.mp4' of the annotation list"),
    (['a/x', 'b/x'], ['x.mp4'], "entry 2: 'b/x' and 'a/x' are both 'x.mp4' of the annotation list"),
])
def test_names_that_could_be_several_videos(tmp_path, names, paths, message):
    write_client_lists(tmp_path, [[dict(name=name, label=1) for name in names]])
    with pytest.raises(DataListError, match=message) as caught:
        read_client_lists(tmp_path, paths)
    assert 'client_dist1.json' in str(caught.value)
