import csv
import lzma

import pytest
from official_lists import prepared, touch

from fedvssl.data.prepare import kinetics400
from fedvssl.data.prepare.catalogue import folded, in_order
from fedvssl.data.prepare.lists import Problems, read_list

OFFICIAL = """label,youtube_id,time_start,time_end,split,is_cc
air drumming,-abcdefghi_,417,427,val,0
"punching person (boxing)",0wR5jVB-WPk,0,10,validate,1
massaging person's head,3caPS4FHFF8,36,46,test,0
"""
FEDVSSL = """tai_chi/AAAAAAAAAAA_000012_000022 3
air_drumming/BBBBBBBBBBB_000000_000010 2
massaging_person's_head/CCCCCCCCCCC_000000_000010 1
tai_chi/DDDDDDDDDDD_000000_000010 3
"""
CLASSES = "1 massaging_person's_head\n2 air_drumming\n3 tai_chi\n4 punching_person_(boxing)\n"


@pytest.fixture
def write(tmp_path):
    def _write(name, content):
        file = tmp_path / 'lists' / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
        return file
    return _write


def test_official_golden(write, tmp_path):
    names = ['val/air drumming/-abcdefghi__000417_000427.mp4', 'flat/0wR5jVB-WPk_000000_000010.mkv',
             "test/massaging_person's_head/3caPS4FHFF8_000036_000046.webm"]
    rows, lines = prepared(kinetics400.read([write('k.csv', OFFICIAL)]), touch(tmp_path / 'videos', *names))
    assert [tuple(row.values()) for row in rows] == [
        (names[0], '0', 'air drumming', 'val', '-abcdefghi__000417_000427'),
        (names[1], '2', 'punching person (boxing)', 'val', '0wR5jVB-WPk_000000_000010'),
        (names[2], '1', "massaging person's head", 'test', '3caPS4FHFF8_000036_000046')]
    assert list(rows[0]) == ['path', 'label', 'class', 'split', 'name']
    assert lines[-1] == f'--cfg-options data.root={tmp_path}/videos data.annotations=annotations.csv'


def test_the_numbers_of_the_class_list_make_the_labels(write):
    catalogue = kinetics400.read([write('train.txt', FEDVSSL)], write('classInd.txt', CLASSES))
    assert [(video.class_name, video.label) for video in catalogue.videos] == [
        ('tai chi', 2), ('air drumming', 1), ("massaging person's head", 0), ('tai chi', 2)]
    assert catalogue.videos[0].values == ('train', 'AAAAAAAAAAA_000012_000022')
    assert len(catalogue.classes) == 4


def test_without_numbers_sorted_names_make_the_labels(write):
    expected = {'air drumming': 0, "massaging person's head": 1, 'tai chi': 2}
    catalogue = kinetics400.read([write('train.txt', FEDVSSL)])
    assert {video.class_name: video.label for video in catalogue.videos} == expected
    names = write('names.txt', "air drumming\nmassaging person's head\ntai chi\n")  # the list's own numbers differ
    assert kinetics400.read([write('train.txt', FEDVSSL)], names) == catalogue


def test_both_kinds_of_lists_together(write):
    lists = [write('train.txt', FEDVSSL), write('val.csv', OFFICIAL)]
    catalogue = kinetics400.read(lists, write('classInd.txt', CLASSES))
    assert [video.values[0] for video in catalogue.videos] == ['train'] * 4 + ['val', 'val', 'test']
    labels = {(video.class_name, video.label) for video in catalogue.videos}
    assert labels == {('tai chi', 2), ('air drumming', 1), ("massaging person's head", 0),
                      ('punching person (boxing)', 3)}


def test_val_is_what_a_config_calls_test(write, tmp_path):
    catalogue = kinetics400.read([write('train.txt', FEDVSSL), write('val.csv', OFFICIAL.replace(',test,', ',val,'))])
    _, lines = prepared(catalogue, touch(tmp_path / 'videos', 'AAAAAAAAAAA_000012_000022.mp4'))
    assert lines[-1].endswith(' data.test.split=val')


@pytest.mark.parametrize(('old', 'new', 'place', 'reason'), [
    ('DDDDDDDDDDD_000000_000010 3', 'DDDDDDDDDDD_000000_000010 2', 'train.txt:4',
     "class 'tai_chi' has number 2 here, but 3 on"),
    ('BBBBBBBBBBB_000000_000010 2', 'BBBBBBBBBBB_000000_000010 3', 'train.txt:2',
     "number 3 is class 'air_drumming' here, but 'tai_chi' on"),
    ('DDDDDDDDDDD_000000_000010', 'AAAAAAAAAAA_000012_000022', 'train.txt:4', 'is already on'),
    ('tai_chi/AAAAAAAAAAA', 'AAAAAAAAAAA', 'train.txt:1', 'is not of the form class_name/youtubeid'),
    ('tai_chi/AAAAAAAAAAA', 'tai chi/AAAAAAAAAAA', 'train.txt:1', 'where "class_name/clip number" was expected'),
    ('tai_chi/AAAAAAAAAAA', '/tai_chi/AAAAAAAAAAA', 'train.txt:1', 'is absolute'),
    ('tai_chi/AAAAAAAAAAA', 'tai_chi/../AAAAAAAAAAA', 'train.txt:1', 'contains ".."'),
    ('000022 3', '000022 three', 'train.txt:1', 'where "class_name/clip number" was expected'),
    ('000022 3', '000022', 'train.txt:1', 'where "class_name/clip number" was expected'),
])
def test_bad_lines_of_a_text_list(write, refused, old, new, place, reason):
    assert old in FEDVSSL
    assert reason in refused(lambda: kinetics400.read([write('train.txt', FEDVSSL.replace(old, new, 1))]), place)


def test_a_number_that_contradicts_the_class_list_is_refused(write, refused):
    lists = [write('train.txt', FEDVSSL.replace('000010 3', '000010 2'))]
    message = refused(lambda: kinetics400.read(lists, write('classInd.txt', CLASSES)), 'train.txt:4')
    assert "number '2', but class 'tai_chi' is number 3 in" in message


def test_an_unknown_class_is_refused(write, refused):
    lists = [write('train.txt', FEDVSSL.replace('air_drumming', 'air_druming'))]
    message = refused(lambda: kinetics400.read(lists, write('classInd.txt', CLASSES)), 'train.txt:2')
    assert "class 'air_druming' is not in" in message
    assert "did you mean 'air_drumming'?" in message


@pytest.mark.parametrize(('old', 'new', 'place', 'reason'), [
    ('label,', 'class,', 'k.csv:1', 'no column label in the header'),
    ('417', '417.5', 'k.csv:2', "time_start '417.5' is not a whole number of seconds"),
    ('427', '', 'k.csv:2', "time_end ''"),
    ('-abcdefghi_', '#NAME?', 'k.csv:2', 'has a spreadsheet changed it?'),
    (',val,', ',dev,', 'k.csv:2', "split 'dev' is none of train, val"),
    ('air drumming,', ',', 'k.csv:2', "label '' is not the name of a class"),
    ('air drumming,', '../../x,', 'k.csv:2', 'is not the name of a class'),
    (',0\n"p', '\n"p', 'k.csv:2', '5 fields instead of the 6 of the header'),
    ('3caPS4FHFF8,36,46', '0wR5jVB-WPk,0,10', 'k.csv:4', 'is already on'),
    ('"punching', '"pun"ching', 'k.csv:3', 'is not CSV'),
])
def test_bad_lines_of_an_official_list(write, refused, old, new, place, reason):
    assert old in OFFICIAL
    assert reason in refused(lambda: kinetics400.read([write('k.csv', OFFICIAL.replace(old, new, 1))]), place)


def test_a_list_without_a_split_has_it_in_its_name(write, refused):
    bare = ''.join(','.join(line.split(',')[:4]) + '\n' for line in OFFICIAL.splitlines())
    assert {video.values[0] for video in kinetics400.read([write('kinetics-400_test.csv', bare)]).videos} == {'test'}
    for name in ('list.csv', 'train_val.csv', 'trained.csv'):
        assert 'contains train, val or test' in refused(lambda: kinetics400.read([write(name, bare)]))  # noqa: B023
    assert 'unpack it first' in refused(lambda: kinetics400.read([write('list.txt.xz', FEDVSSL)]))


def test_a_list_of_a_header_alone(write, refused):
    assert 'no rows' in refused(lambda: kinetics400.read([write('val.csv', OFFICIAL.splitlines()[0])]))


def test_a_class_list_is_checked(write, refused):
    numbers = write('classInd.txt', '0 a\n1 b\n3 c\n')
    assert 'class number 3 where 2 was expected' in refused(
        lambda: kinetics400.read([write('train.txt', FEDVSSL)], numbers), 'classInd.txt:3')
    assert 'cannot be read' in refused(lambda: kinetics400.read([numbers.with_name('no.csv')]))


def test_official_names_and_those_of_fedvssl_correspond(official):
    """All 400, without a rename; mmaction2's label map is the order of the sorted names."""
    directory = official / 'kinetics400'
    fedvssl = [line.split(maxsplit=1)[1] for line in (directory / 'classInd_fedvssl.txt').read_text().splitlines()]
    mapped = (directory / 'label_map_k400_mmaction2.txt').read_text().splitlines()
    listed = {row['label'] for row in csv.DictReader(unpacked(official, 'kinetics-400_val.csv.xz').splitlines())}
    assert {folded(name) for name in fedvssl} == {folded(name) for name in mapped} == {folded(name) for name in listed}
    assert mapped == in_order(listed) == [name.replace('_', ' ') for name in in_order(fedvssl)]
    assert len(set(mapped)) == 400


def unpacked(official, name):
    return lzma.open(official / 'kinetics400' / name, 'rt').read()


def test_official_validation_list(official, write):
    catalogue = kinetics400.read([write('val.csv', unpacked(official, 'kinetics-400_val.csv.xz'))])
    assert (len(catalogue.videos), len(catalogue.classes)) == (19906, 400)
    assert {video.values[0] for video in catalogue.videos} == {'val'}


def test_fedvssl_training_list(official, write, script, tmp_path):
    """219,664 videos, of which one in 20 is there."""
    classes = official / 'kinetics400' / 'classInd_fedvssl.txt'
    text = unpacked(official, 'train_in_official.txt.xz')
    file = write('train_in_official.txt', text)
    catalogue = kinetics400.read([file], classes)
    assert (len(catalogue.videos), len(catalogue.classes)) == (219664, 400)
    numbers = [int(line.split()[1]) for line in text.splitlines()]
    assert [video.label + 1 for video in catalogue.videos] == numbers
    root = tmp_path / 'videos'
    for name in read_classes(classes):
        (root / name).mkdir(parents=True)
    for line in text.splitlines()[::20]:
        (root / f'{line.split()[0]}.mp4').touch()
    code, out, _ = script('prepare_kinetics400.py', '--lists', file, '--classes', classes, '--videos', root)
    assert code == 0
    assert 'Kinetics-400: 10,984 of 219,664 found' in out


def read_classes(file):
    return [text.split(maxsplit=1)[1] for _, text in read_list(file).lines(Problems())]
