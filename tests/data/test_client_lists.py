import json

import pytest

from fedvssl.data.client_lists import write_client_lists
from fedvssl.errors import StorageError

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
