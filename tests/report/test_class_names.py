"""What classes are called, by every way in which a list can say it."""

import json
from hashlib import sha256

import pytest

from fedvssl.report.class_names import class_names, directory_names, names_in_list, one_to_one
from fedvssl.report.results import read_result
from tests.report.conftest import result_values


@pytest.mark.parametrize(('text', 'names'), [
    ('path,label\nx.mp4,walk\ny.mp4,fall\nz.mp4,walk\n', {0: 'fall', 1: 'walk'}),  # numbered in sorted order
    ('path,label,class\nx.mp4,1,walk\ny.mp4,0,fall\n', {1: 'walk', 0: 'fall'}),
    ('path,label\nwalk/x.mp4,1\nfall/y.mp4,0\n', {1: 'walk', 0: 'fall'}),
    ('path,label,class\na/x.mp4,1,walk\nb/y.mp4,0,walk\n', {1: 'a', 0: 'b'}),  # one name for two classes
    ('path,label,class\nx.mp4,1,walk\ny.mp4,1,fall\n', {}),  # two names for one
    ('path,label\ntrain/x.mp4,1\ntrain/y.mp4,0\n', {}),
    ('path\nwalk/x.mp4\n', {-1: 'walk'}),
    ('path,label\n../x.mp4,1\n', {}),  # a wrong list
])
def test_a_list_says_it(tmp_path, text, names):
    (tmp_path / 'list.csv').write_text(text)
    assert names_in_list(tmp_path / 'list.csv') == names


def test_labels_may_begin_with_1(tmp_path):
    (tmp_path / 'list.csv').write_text('path,label,class\nx.mp4,2,walk\ny.mp4,1,fall\n')
    assert names_in_list(tmp_path / 'list.csv', label_base=1) == {1: 'walk', 0: 'fall'}


def test_names_are_one_to_one():
    assert one_to_one([(0, 'a'), (1, 'b'), (0, 'a')]) == {0: 'a', 1: 'b'}
    assert one_to_one([(0, 'a'), (1, '')]) == one_to_one([(0, 'a'), (1, 'a')]) == one_to_one([]) == {}
    assert directory_names([(3, 'x/deep/1.mp4'), (4, 'x/shallow/2.mp4')]) == {3: 'deep', 4: 'shallow'}


def test_only_the_list_of_the_result_names_its_classes(tmp_path, caplog):
    file = tmp_path / 'videos/annotations.csv'
    file.parent.mkdir()
    file.write_text('path,label\nx.mp4,walk\ny.mp4,fall\n')
    values = result_values(dict(top1=1), lists=dict(annotations_sha256=sha256(file.read_bytes()).hexdigest()))
    (tmp_path / 'result.json').write_text(json.dumps(values))
    result = read_result(tmp_path)
    assert class_names(result, file.parent) == {0: 'fall', 1: 'walk'} and not caplog.text
    assert class_names(result) == {} and 'videos/annotations.csv: cannot be read (No such file' in caplog.text
    file.write_text('path,label\nx.mp4,fall\ny.mp4,walk\nz.mp4,aim\n')
    assert class_names(result, file.parent) == {} and 'is not the list of this result any more' in caplog.text
