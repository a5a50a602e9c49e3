import pytest
from official_lists import HMDB, hmdb_lists, prepared, touch
from stored_rar import rar

from fedvssl.data.prepare import hmdb51

NAMES = [f'{name}/{video}' for name, videos in HMDB.items() for video in videos]


@pytest.fixture
def lists(tmp_path):
    return hmdb_lists(tmp_path / 'lists')


def test_golden(lists, tmp_path):
    rows, lines = prepared(hmdb51.read(lists), touch(tmp_path / 'videos', *NAMES))
    assert rows == [
        {'path': 'kick/#1_kick_(x)_0.avi', 'label': '0', 'class': 'kick', 'split1': 'train', 'split2': 'test',
         'split3': 'unused'},
        {'path': 'kick/b[2]~;_kick_1.avi', 'label': '0', 'class': 'kick', 'split1': 'test', 'split2': 'unused',
         'split3': 'train'},
        {'path': 'kick_ball/a!@&+_kick_ball_0.avi', 'label': '1', 'class': 'kick_ball', 'split1': 'train',
         'split2': 'test', 'split3': 'unused'}]
    assert lines[-1].endswith(' data.annotations=annotations.csv data.split_column=split1')


def test_labels_are_those_of_the_sorted_names_whatever_the_class_list_says(lists):
    expected = hmdb51.read(lists)
    (lists / 'class_list.txt').write_text('kick_ball  \nkick  ')
    assert hmdb51.read(lists) == expected
    assert list(expected.classes) == ['kick', 'kick_ball']


def test_a_class_list_of_other_classes_is_refused(lists, refused):
    (lists / 'class_list.txt').write_text('kick\nwave\n')
    message = refused(lambda: hmdb51.read(lists), 'class_list.txt')
    assert "class 'kick_ball' is not in class_list.txt" in message
    assert "class 'wave' has no split files" in message


@pytest.mark.parametrize(('text', 'reason'), [
    ('x.avi 3 \n', "tag '3' is none of 0 (unused), 1 (train), 2 (test)"),
    ('x.avi\n', '1 fields, where "video.avi tag" was expected'),
    ('x y.avi 1\n', '3 fields'),
    ('kick/x.avi 1\n', 'is a path'),
    ('/x.avi 1\n', 'is absolute'),
    ('../x.avi 1\n', 'contains ".."'),
    ('a!@&+_kick_ball_0.avi 1\n', "is of class 'kick_ball'"),
    (f'{HMDB["kick"][0]} 1\n' * 2, 'is already train in'),
])
def test_bad_lines_are_named(lists, refused, text, reason):
    last = text.count('\n')
    (lists / 'kick_test_split2.txt').write_text(text)
    message = refused(lambda: hmdb51.read(lists))
    assert reason in message
    assert f'kick_test_split2.txt:{last}: ' in message or 'kick_ball_test_split' in message


def test_a_missing_split_file_is_named(lists, refused, tmp_path):
    (lists / 'kick_ball_test_split3.txt').unlink()
    assert '1 of the 6 lists missing: kick_ball_test_split3.txt' in refused(lambda: hmdb51.read(lists))
    assert 'one for each class and split (153)' in refused(lambda: hmdb51.read(touch(tmp_path / 'other', 'a.txt')))


def test_a_video_that_a_split_lacks_is_refused(lists, refused):
    file = lists / 'kick_test_split3.txt'
    file.write_text(file.read_text().splitlines()[1])
    assert 'is in neither <class>_test_split3.txt' in refused(lambda: hmdb51.read(lists), 'kick_test_split1.txt:1')


def test_lists_in_the_published_rar(lists, tmp_path, fake_unrar):
    file = tmp_path / 'test_train_splits.rar'
    file.write_bytes(rar({f'testTrainMulti_7030_splits/{path.name}': path.read_bytes() for path in lists.iterdir()}))
    assert hmdb51.read(file) == hmdb51.read(lists)


def test_official_figures(official, tmp_path):
    catalogue = hmdb51.read(official / 'hmdb51')
    assert len(catalogue.videos) == 6766
    assert list(catalogue.classes) == (official / 'hmdb51' / 'label_map_mmaction2.txt').read_text().split()
    rows, lines = prepared(catalogue, touch(tmp_path, *(video.official for video in catalogue.videos)))
    for split in ('split1', 'split2', 'split3'):
        assert f'{split}: 1,530 test, 3,570 train, 1,666 unused' in lines
        for name in catalogue.classes:  # 70 and 30 of every class, as published
            of_class = [row[split] for row in rows if row['class'] == name]
            assert (of_class.count('train'), of_class.count('test')) == (70, 30)
