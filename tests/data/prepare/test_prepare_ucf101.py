import shutil

import pytest
from official_lists import UCF_ORDER, prepared, touch, ucf_lists, ucf_names

from fedvssl.data.annotations import read_annotations
from fedvssl.data.prepare import ucf101
from fedvssl.data.prepare.catalogue import in_order


@pytest.fixture
def lists(tmp_path):
    return ucf_lists(tmp_path / 'lists')


@pytest.fixture
def root(tmp_path):
    return touch(tmp_path / 'videos', *ucf_names())


def change(file, old, new):
    text = file.read_bytes()
    assert old.encode() in text
    file.write_bytes(text.replace(old.encode(), new.encode(), 1))


def test_golden(lists, root):
    rows, lines = prepared(ucf101.read(lists), root)
    assert rows[3] == {'path': 'Hammering/v_Hammering_g01_c01.avi', 'label': '1', 'class': 'Hammering',
                       'group': 'Hammering_g01', 'split1': 'test', 'split2': 'train', 'split3': 'train'}
    assert [row['class'] for row in rows[::3]] == UCF_ORDER  # classInd's order, in which case does not count
    assert lines == ['UCF-101: 9 of 9 found', 'note: 3 classes, where UCF-101 as published has 101',
                     'split1: 3 test, 6 train', 'split2: 3 test, 6 train', 'split3: 3 test, 6 train',
                     f'{root}/annotations.csv: 9 videos of 3 of 3 classes',
                     f'--cfg-options data.root={root} data.annotations=annotations.csv data.split_column=split1']


def test_the_loader_reads_it(lists, root):
    prepared(ucf101.read(lists), root)
    videos = read_annotations(root / 'annotations.csv', root, split='test', split_column='split2', num_classes=3)
    assert [video.columns['group'] for video in videos] == ['Archery_g02', 'Hammering_g02', 'HammerThrow_g02']


def test_archives_of_lists_and_nested_directories(lists, root, tmp_path):
    expected = ucf101.read(lists)
    (lists / 'label_map.txt').write_text('not one of ours\n')
    shutil.make_archive(str(tmp_path / 'zipped'), 'zip', tmp_path, 'lists')
    shutil.make_archive(str(tmp_path / 'tarred'), 'gztar', tmp_path, 'lists')
    assert ucf101.read(tmp_path / 'zipped.zip') == expected
    assert ucf101.read(tmp_path / 'tarred.tar.gz') == expected
    assert ucf101.read(tmp_path) == expected


def test_zero_based_lists_are_read_where_the_class_list_says_so(lists):
    expected = ucf101.read(lists)
    shift(lists / 'classInd.txt', lambda fields: [str(int(fields[0]) - 1), fields[1]])
    for split in '123':
        shift(lists / f'trainlist0{split}.txt', lambda fields: [fields[0], str(int(fields[1]) - 1)])
    assert ucf101.read(lists) == expected


def shift(file, change_fields):
    lines = [' '.join(change_fields(line.split())) for line in file.read_text().splitlines()]
    file.write_text('\n'.join(lines) + '\n\n')


def test_mixed_bases_are_refused_with_both_numbers(lists, refused):
    change(lists / 'trainlist02.txt', 'HammerThrow_g03_c01.avi 3', 'HammerThrow_g03_c01.avi 2')
    message = refused(lambda: ucf101.read(lists), 'trainlist02.txt:4')
    assert "number '2', but class 'HammerThrow' is number 3 in" in message
    assert '1 problem' in message


def test_a_list_that_counts_from_elsewhere_is_refused(lists, refused):
    shift(lists / 'trainlist01.txt', lambda fields: [fields[0], str(int(fields[1]) - 1)])
    assert '6 problems' in refused(lambda: ucf101.read(lists), 'trainlist01.txt:1', 'trainlist01.txt:6')


@pytest.mark.parametrize(('file', 'old', 'new', 'place', 'reason'), [
    ('classInd.txt', '2 Hammering', '4 Hammering', 'classInd.txt:2', 'class number 4 where 2 was expected'),
    ('classInd.txt', '1 Archery', '2 Archery', 'classInd.txt:1', 'class number 2 where 1 was expected'),
    ('classInd.txt', '2 Hammering', 'Hammering', 'classInd.txt:2', 'no class number where 2 was expected'),
    ('classInd.txt', '3 HammerThrow', '3 Hammering', 'classInd.txt:3', "class 'Hammering' is already on"),
    ('trainlist01.txt', 'Archery/', 'Achery/', 'trainlist01.txt:1', "did you mean 'Archery'?"),
    ('trainlist01.txt', 'avi 1', 'avi', 'trainlist01.txt:1', '1 fields, where "Class/video.avi number"'),
    ('trainlist01.txt', 'avi 1', 'avi 1 1', 'trainlist01.txt:1', '3 fields'),
    ('testlist01.txt', 'Archery/', '/Archery/', 'testlist01.txt:1', 'is absolute or contains ".."'),
    ('testlist01.txt', 'Archery/', 'Archery/../', 'testlist01.txt:1', 'is absolute or contains ".."'),
    ('testlist01.txt', 'Archery/', 'C:\\', 'testlist01.txt:1', 'is absolute or contains ".."'),
    ('testlist01.txt', 'v_Archery_g01', 'v_Archery_01', 'testlist01.txt:1', 'is not of the form'),
    ('testlist01.txt', 'g01_c01.avi', 'g02_c01.avi', 'testlist01.txt:1', 'is already train in'),
    ('trainlist01.txt', 'g02_c01.avi', 'g03_c01.avi', 'trainlist01.txt:2', 'is already train in'),
    ('testlist03.txt', 'v_Archery_g03', 'v_Archery_g07', 'testlist03.txt:1', 'is in neither trainlist01.txt nor'),
    ('testlist01.txt', 'avi', 'avi 7', 'testlist01.txt:1', "number '7', but class 'Archery' is number 1"),
])
def test_bad_lines_are_named(lists, refused, file, old, new, place, reason):
    change(lists / file, old, new)
    assert reason in refused(lambda: ucf101.read(lists), place)


def test_bytes_that_are_not_utf8(lists, refused):
    (lists / 'testlist02.txt').write_bytes(b'Archery/v_Archery_g02_c01.avi\r\nArch\xe9ry/x.avi\r\n')
    assert 'byte 0xe9 at position 5 is not UTF-8' in refused(lambda: ucf101.read(lists), 'testlist02.txt:2')


def test_harmless_variants_read_the_same(lists):
    expected = ucf101.read(lists)
    for file in lists.iterdir():
        text = file.read_bytes().replace(b'\r\n', b' \t\n').replace(b'avi ', b'avi\t')
        file.write_bytes(b'\xef\xbb\xbf' + text + b'\n\n')
    assert ucf101.read(lists) == expected


def test_an_empty_list_and_a_missing_one_are_named(lists, refused, tmp_path):
    (lists / 'trainlist03.txt').write_bytes(b' \r\n')
    assert 'is empty' in refused(lambda: ucf101.read(lists), 'trainlist03.txt')
    (lists / 'trainlist03.txt').unlink()
    assert '1 of the 7 lists missing: trainlist03.txt' in refused(lambda: ucf101.read(lists))
    (tmp_path / 'empty').mkdir()
    assert 'expected classInd.txt, trainlist01.txt' in refused(lambda: ucf101.read(tmp_path / 'empty'))
    assert 'neither a directory nor an archive' in refused(lambda: ucf101.read(tmp_path / 'nowhere'))


def test_the_first_twenty_problems_and_a_count(lists, refused):
    (lists / 'trainlist01.txt').write_text(''.join(f'Nothing{number}/v_a_g01_c01.avi 1\n' for number in range(5000)))
    message = refused(lambda: ucf101.read(lists), 'trainlist01.txt:1', 'trainlist01.txt:20')
    assert '5000 problems (the first 20 are shown)' in message
    assert len(message.splitlines()) == 21


def test_two_copies_of_the_lists_are_refused(lists, refused, tmp_path):
    ucf_lists(tmp_path / 'more' / 'lists')
    assert 'holds classInd.txt twice' in refused(lambda: ucf101.read(tmp_path))


def test_both_spellings_of_handstand_pushups_are_found(tmp_path):
    lists = ucf_lists(tmp_path / 'lists')
    for file in lists.iterdir():
        file.write_bytes(file.read_bytes().replace(b'HammerThrow', b'Hammerthrow'))
    rows, _ = prepared(ucf101.read(lists), touch(tmp_path / 'videos', *ucf_names()))
    assert [row['path'] for row in rows if row['class'] == 'Hammerthrow'] == ucf_names()[3:6]


def test_official_figures(official, tmp_path):
    """9,537 / 3,783 and so on are the sizes of the published splits."""
    catalogue = ucf101.read(official / 'ucf101')
    rows, lines = prepared(catalogue, touch(tmp_path, *(video.official for video in catalogue.videos)))
    assert 'UCF-101: 13,320 of 13,320 found' in lines
    for split, train, test in (('split1', 9537, 3783), ('split2', 9586, 3734), ('split3', 9624, 3696)):
        assert [sum(row[split] == part for row in rows) for part in ('train', 'test')] == [train, test]
    assert len({row['group'] for row in rows}) == 25 * 101
    assert {row['group'][-4:] for row in rows} == {f'_g{number:02}' for number in range(1, 26)}
    names = (official / 'ucf101' / 'label_map_mmaction2.txt').read_text().split()
    assert catalogue.classes == names == in_order(names)
    assert all(names[int(row['label'])] == row['class'] == row['path'].split('/')[0] for row in rows)


def test_no_group_of_the_official_lists_is_on_both_sides(official):
    parts = {}
    for video in ucf101.read(official / 'ucf101').videos:
        for split, part in enumerate(video.values[1:]):
            assert parts.setdefault((video.values[0], split), part) == part
