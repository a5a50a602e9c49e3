import json
import os
import pickle
import random
import re
from pathlib import Path

import pytest

from fedvssl.data.annotations import SHOWN_FAULTS, UNLABELLED, Video, bare_name, read_annotations, resolve
from fedvssl.errors import DataListError

GOOD = b'path,label,subject,split\nA/1.mp4,0,jack,train\nA/2.mp4,1,lou,train\nB/3.mp4,2,jack,test\nB/4.mp4,0,lou,test\n'


@pytest.fixture
def write(tmp_path):
    def _write(content, name='list.csv'):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file
    return _write


def refused(file, **options):
    """Returns the message of the refusal and the lines it names."""
    with pytest.raises(DataListError) as caught:
        read_annotations(file, 'root', **options)
    message = str(caught.value)
    assert message.startswith(str(file))
    places = re.findall(rf'^{re.escape(str(file))}(?::|: entry )(\d+): ', message, re.MULTILINE)
    return message, [int(line) for line in places]


def test_csv_golden(write):
    videos = read_annotations(write(GOOD), 'root')
    assert videos[2] == Video('B/3.mp4', 2, {'subject': 'jack', 'split': 'test'}, 4)
    assert [video.label for video in videos] == [0, 1, 2, 0]


def test_videos_travel_between_processes_and_hash(write):
    videos = read_annotations(write(GOOD), 'root')
    assert pickle.loads(pickle.dumps(videos)) == videos
    assert len(set(videos)) == 4


@pytest.mark.parametrize('content', [
    b'\xef\xbb\xbf' + GOOD,
    GOOD.replace(b'\n', b'\r\n'),
    GOOD.replace(b',', b' , ').replace(b'\n', b' \t\n'),
    GOOD.rstrip(b'\n'),
    GOOD.replace(b'A/1.mp4', b'"A/1.mp4"'),
    GOOD.replace(b'A/1.mp4', b'./A//1.mp4'),
    GOOD.replace(b'\n', b'\r\n').replace(b'A/1', b'  A/1'),
])
def test_harmless_variants_read_the_same(write, content):
    assert read_annotations(write(content), 'root') == read_annotations(write(GOOD, 'good.csv'), 'root')


def test_blank_lines_are_skipped_but_counted(write):
    videos = read_annotations(write('\n \npath,label\r\n\r\na.mp4,0\n\t\nb.mp4,1\n\n'), 'root')
    assert [(video.path, video.line) for video in videos] == [('a.mp4', 5), ('b.mp4', 7)]


def test_names_with_special_characters_survive(write):
    name = "kiss/#20 (what's; [up]) & ~+@!, ü.avi"
    assert read_annotations(write(f'path,label\n"{name}",0\n'), 'root')[0].path == name


def test_list_without_labels(write):
    assert [video.label for video in read_annotations(write('path\na\nb\n'), 'root')] == [UNLABELLED] * 2


def test_label_base(write):
    assert [video.label for video in read_annotations(write('path,label\na,1\nb,400\n'), 'root', label_base=1,
                                                      num_classes=400)] == [0, 399]


def test_class_names_are_numbered_over_the_whole_file_before_the_split(write):
    file = write('path,label,split\na,zebra,train\nb,ant,test\nc,10 pins,train\nd,nan,test\n')
    videos = read_annotations(file, 'root', split='train', num_classes=4, label_base=1)
    assert [(video.path, video.label) for video in videos] == [('a', 3), ('c', 0)]


def test_published_json(write):
    file = write(json.dumps([{'name': 'ant/abc_000009_000019', 'label': 1},
                             {'name': 'bee/def_000000_000010', 'label': 2}], indent=2), 'client_dist1.json')
    assert read_annotations(file, 'root', label_base=1, extension='.mp4') == [
        Video('ant/abc_000009_000019.mp4', 0, {}, 1), Video('bee/def_000000_000010.mp4', 1, {}, 2)]


def test_json_with_path_and_further_columns(write):
    file = write(b'\xef\xbb\xbf' + json.dumps([{'path': 'a.mp4 ', 'fps': 12.5, 'split': 'train', 'note': None},
                                               {'path': 'b.mp4', 'split': 'test', 'cut': True}]).encode(), 'list.JSON')
    assert read_annotations(file, 'root') == [
        Video('a.mp4', UNLABELLED, {'fps': '12.5', 'split': 'train', 'note': '', 'cut': ''}, 1),
        Video('b.mp4', UNLABELLED, {'fps': '', 'split': 'test', 'note': '', 'cut': 'true'}, 2)]


def test_text_lists(write):
    published = 'ant/abc_000009_000019 1\r\n\nbee/def_000000_000010\t2 \n'
    assert read_annotations(write(published, 'train.txt'), 'root', label_base=1, extension='.mp4') == [
        Video('ant/abc_000009_000019.mp4', 0, {}, 1), Video('bee/def_000000_000010.mp4', 1, {}, 3)]
    assert [video.label for video in read_annotations(write('a.avi\nb.avi\n', 'test.txt'), 'root')] == [UNLABELLED] * 2


@pytest.mark.parametrize(('text', 'line', 'reason'), [
    ('a.avi 1\nb.avi\n', 2, "no label after 'b.avi', though other lines have one"),
    ('a.avi 1\nb.avi x\n', 2, "label 'x' is not an integer"),
    ('a.avi 1\nb c.avi 2\n', 2, '3 fields instead of "name label"'),
    ('a.avi 1\nb.avi 0\n', 2, "label '0' is outside 1..3"),
    ('a.avi 1\na.avi 1\n', 2, "'a.avi' is already on line 1"),
    ('a.avi 1\n/b.avi 1\n', 2, 'is absolute'),
    ('a.avi 1\nc/../../b.avi 1\n', 2, 'contains ".."'),
])
def test_bad_lines_of_text_lists(write, text, line, reason):
    message, lines = refused(write(text, 'list.txt'), label_base=1, num_classes=3)
    assert lines == [line] and reason in message


BAD_LINES = {
    'absolute': ('/etc/passwd,0', 'absolute.*data root root'),
    'windows absolute': ('C:\\videos\\a.mp4,0', 'absolute'),
    'backslash root': ('\\\\host\\a.mp4,0', 'absolute'),
    'climbs': ('A/../../../etc/passwd,0', r'contains "\.\."'),
    'climbs with backslashes': ('A\\..\\..\\etc,0', r'contains "\.\."'),
    'empty path': (',0', 'path is empty'),
    'dots only': ('./.,0', 'path is empty'),
    'empty label': ('c.mp4,', 'no value in column "label"'),
    'too few': ('c.mp4', '1 fields instead of the 2 of the header; no value for label'),
    'too many': ('c d,0,1', '3 fields instead of the 2'),
    'name among numbers': ('c.mp4,ant', "label 'ant' is not an integer as '0' on line 2 is"),
    'float': ('c.mp4,1.0', "label '1.0' is not an integer"),
    'underscore': ('c.mp4,1_0', 'not an integer'),
    'arabic digit': ('c.mp4,١', 'not an integer'),
    'negative': ('c.mp4,-5', "label '-5' is outside 0..2"),
    'too large': ('c.mp4,3', r"label '3' is outside 0\.\.2 \(label_base=0, num_classes=3\)"),
    'huge': ('c.mp4,' + '9' * 5000, r'outside 0\.\.2'),
    'duplicate': ('./a.mp4,0', "'a.mp4' is already on line 2"),
    'tab': ('c\t.mp4,0', r'U\+0009'),
    'carriage return': ('c\rd.mp4,0', 'is not CSV'),
    'open quote': ('"c.mp4,0', 'is not CSV'),
    'NUL': ('c\0.mp4,0', 'NUL byte'),
    'not UTF-8': (b'caf\xe9.mp4,0', 'byte 0xe9 at position 4 is not UTF-8'),
}


@pytest.mark.parametrize(('bad', 'reason'), BAD_LINES.values(), ids=BAD_LINES)
def test_bad_csv_line_is_named(write, bad, reason):
    bad = bad if isinstance(bad, bytes) else bad.encode()
    message, lines = refused(write(b'path,label\na.mp4,0\n\n' + bad + b'\nb.mp4,1\n'), num_classes=3)
    assert lines == [4]
    assert re.search(reason, message)
    assert '1 bad line' in message
    assert len(message) < 500


def test_label_below_the_base(write):
    message, lines = refused(write('path,label\na,1\nb,0\n'), label_base=1, num_classes=2)
    assert lines == [3]
    assert "label '0' is outside 1..2 (label_base=1, num_classes=2)" in message


def test_number_among_class_names(write):
    message, lines = refused(write('path,label\na,ant\nb,3\nc,bee\n'))
    assert lines == [3]
    assert "label '3' is not a class name as 'ant' on line 2 is" in message


def test_more_class_names_than_classes(write):
    message, lines = refused(write('path,label\na,ant\nb,cow\nc,bee\n'), num_classes=2)
    assert lines == [3]
    assert "'cow' is class 2 of 0..1: the file has 3 class names, num_classes=2" in message


def test_all_bad_lines_are_counted_and_the_first_are_shown(write):
    rows = ''.join(f'v{i}.mp4,{9 if i % 2 else 0}\n' for i in range(100))
    message, lines = refused(write('path,label\n' + rows), num_classes=9)
    assert '50 bad lines' in message
    assert lines == list(range(3, 3 + 2 * SHOWN_FAULTS, 2))


def test_one_line_with_two_faults_counts_once(write):
    message, lines = refused(write('path,label,split\n/a,9,\nb,0,x\n'), num_classes=1, split='x')
    assert lines == [2]
    for reason in ('absolute', 'outside 0..0', "no value in column 'split'"):
        assert reason in message


@pytest.mark.parametrize(('content', 'line'), [
    ('file,label\na,0\n', 1),
    ('\npath;label\na;0\n', 2),
    ('path,path\na,b\n', 1),
    ('path,,label\na,b,0\n', 1),
    (b'p\xffth,label\na,0\n', 1),
    (GOOD.decode().encode('utf-16'), 1),
])
def test_bad_header(write, content, line):
    assert refused(write(content))[1][0] == line


@pytest.mark.parametrize(('entry', 'reason'), [
    (7, 'not an object'),
    ([1], 'not an object'),
    ({'label': 0}, 'not an object with a text'),
    ({'name': 3, 'label': 0}, 'not an object with a text'),
    ({'name': 'c'}, 'no "label"'),
    ({'name': 'c', 'label': '0'}, "label '0' is not an integer"),
    ({'name': 'c', 'label': True}, 'label True is not an integer'),
    ({'name': 'c', 'label': 1.0}, 'label 1.0 is not an integer'),
    ({'name': 'c', 'label': None}, 'label None is not an integer'),
    ({'name': 'c', 'label': 10**21}, 'outside 0..2'),
    ({'name': 'c', 'label': -1}, 'outside 0..2'),
    ({'name': '../c', 'label': 1}, r'contains "\.\."'),
    ({'name': '', 'label': 1}, 'path is empty'),
    ({'name': 'c\0', 'label': 1}, r'U\+0000'),
    ({'name': 'c\ud800', 'label': 1}, r'U\+D800'),
    ({'name': 'c', 'label': 1, 'group': {}}, "'group' is neither text nor a number"),
    ({'name': 'a', 'label': 1}, "'a.mp4' is already on line 1"),
])
def test_bad_json_entry_is_named(write, entry, reason):
    content = json.dumps([{'name': 'a', 'label': 0}, entry, {'name': 'b', 'label': 1}])
    message, lines = refused(write(content, 'list.json'), num_classes=3, extension='.mp4')
    assert lines == [2]
    assert re.search(reason, message)


@pytest.mark.parametrize(('content', 'line'), [
    (b'[{"name": "a"},\n{"name": }]', 2),
    (b'[{"name": "a"},\n{"name": "caf\xe9"}]', 2),
    (b'[\n{"name": "a\0"}]', 2),
    (b'{"name": "a"}', 1),
    (b'[' * 100_000, 1),
    (b'[{"name": "a", "label": ' + b'9' * 5000 + b'}]', 1),
])
def test_bad_json_text(write, content, line):
    assert refused(write(content, 'list.json'))[1] == [line]


@pytest.mark.parametrize(('content', 'name', 'reason'), [
    (b'', 'a.csv', 'is empty'),
    (b'\xef\xbb\xbf \r\n', 'a.csv', 'is empty'),
    (b'path,label\n', 'a.csv', 'no rows'),
    (b'[]', 'a.json', 'no rows'),
])
def test_nothing_in_the_file(write, content, name, reason):
    assert reason in refused(write(content, name))[0]


def test_missing_file_and_directory(tmp_path):
    assert 'no such file' in refused(tmp_path / 'none.csv')[0]
    (tmp_path / 'folder.csv').mkdir()
    assert 'is a directory; scripts/prepare_folder.py makes a list' in refused(tmp_path / 'folder.csv')[0]
    (tmp_path / 'list.txt.xz').write_bytes(b'x')
    assert 'is compressed; unpack it first' in refused(tmp_path / 'list.txt.xz')[0]


@pytest.mark.parametrize('name', ['list.pkl', 'list.yaml', 'list'])
def test_only_formats_that_execute_nothing(tmp_path, name):
    canary = tmp_path / 'executed'

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(canary),)

    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    message, _ = refused(tmp_path / name)
    assert 'only .csv, .json and .txt' in message
    assert 'execute' in message
    assert not canary.exists()


def test_split(write):
    file = write(GOOD)
    assert [video.line for video in read_annotations(file, 'root', split='test')] == [4, 5]
    assert [video.line for video in read_annotations(file, 'root', split='lou', split_column='subject')] == [3, 5]
    assert "no rows with 'val' in column 'split'; there are: 'test' (2), 'train' (2)" in refused(file, split='val')[0]
    assert "no column 'splits'" in refused(file, split='test', split_column='splits')[0]
    assert "did you mean 'split'?" in refused(file, split='test', split_column='splits')[0]
    assert "no column 'label'" in refused(file, split='0', split_column='label')[0]


def test_a_split_that_is_spelt_in_two_ways(write):
    message, lines = refused(write(GOOD.replace(b'train', b'Train', 1)), split='train')
    assert "'Train' in column 'split', and 'train' elsewhere; write it one way" in message and len(lines) == 1


def test_bare_names():
    assert [bare_name(name) for name in ('a b/c.MP4', 'a/c.d', 'x.zip', 'y', 'v1.cam2.avi')] == [
        'a_b/c', 'a/c.d', 'x', 'y', 'v1.cam2']


def test_faults_outside_the_split_are_reported_too(write):
    assert refused(write(GOOD.replace(b'B/3.mp4,2', b'B/3.mp4,7')), split='train', num_classes=3)[1] == [4]


def test_resolve_inside_the_root(tmp_path):
    (tmp_path / 'root/sub').mkdir(parents=True)
    (tmp_path / 'root/sub/a.mp4').write_bytes(b'x')
    (tmp_path / 'root/link.mp4').symlink_to('sub/a.mp4')
    (tmp_path / 'root/frames').mkdir()
    (tmp_path / 'alias').symlink_to('root')
    for root in (tmp_path / 'root', tmp_path / 'alias'):
        for relative in ('sub/a.mp4', 'link.mp4', 'missing.mp4', 'sub/a.mp4/missing', 'frames'):
            assert resolve(root, relative) == root / relative


def test_resolve_refuses_escapes_and_odd_files(tmp_path):
    root = tmp_path / 'root'
    root.mkdir()
    (tmp_path / 'secret').write_bytes(b'x')
    (tmp_path / 'root-sibling').mkdir()
    (root / 'link').symlink_to('../secret')
    (root / 'out').symlink_to('../root-sibling')
    (root / 'loop').symlink_to('loop')
    os.mkfifo(root / 'pipe')
    for relative in ('link', 'out/new.mp4', 'loop', 'out', 'pipe', '../secret', str(tmp_path / 'secret'), '', '.',
                     'a\0b', '\ud800', 'x' * 5000):
        with pytest.raises(DataListError):
            resolve(root, relative)


HOSTILE = [b'\n', b'\r', b',', b'"', b'\0', b'../', b'/', b'-', b'9' * 30, b'\xff', b'{', b']']


def _mutant(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
        elif kind == 1:
            del data[at:at + rng.randint(1, 20)]
        elif kind == 2 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 3:
            data[at:at] = rng.choice(HOSTILE)
        elif kind == 4:
            data[at:at] = data[rng.randrange(len(data) + 1):][:rng.randint(1, 40)]
        else:
            del data[at:]
            data += b'x'
    return bytes(data)


@pytest.mark.parametrize(('name', 'content'), [
    ('list.csv', GOOD),
    ('list.txt', b''.join(b'c/%d %d\n' % (i, i % 3) for i in range(12))),
    ('list.json', json.dumps([{'name': f'c/{i}', 'label': i % 3, 'split': 'train'} for i in range(5)]).encode()),
])
def test_mutated_lists_are_read_or_refused_with_the_line(write, name, content):
    accepted = 0
    for seed in range(500):
        file = write(_mutant(content, random.Random(seed)), name)
        try:
            videos = read_annotations(file, 'root', num_classes=3)
        except DataListError as error:
            assert re.search(rf'{re.escape(name)}(:\d+)?: ', str(error)), seed
            continue
        accepted += 1
        assert len({video.path for video in videos}) == len(videos) > 0, seed
        for video in videos:
            assert UNLABELLED <= video.label < 3, seed
            assert '..' not in video.path.split('/') and not Path(video.path).is_absolute(), seed
            assert video.path.isprintable() or not video.path.isascii(), seed
    assert 0 < accepted < 500


@pytest.mark.skipif('FEDVSSL_DATA' not in os.environ, reason='FEDVSSL_DATA is not set')
def test_real_list():
    folder = Path(os.environ['FEDVSSL_DATA']) / 'video/asl24'
    counts = {split: len(read_annotations(folder / 'clips.csv', folder, num_classes=24, split=split))
              for split in ('train', 'test')}
    assert counts == {'train': 601, 'test': 240}
    assert all(resolve(folder, video.path) for video in read_annotations(folder / 'clips.csv', folder))
