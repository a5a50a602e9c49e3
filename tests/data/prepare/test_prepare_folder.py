import pytest
from official_lists import distinct_names, rows_of, touch

from fedvssl.data.annotations import read_annotations
from fedvssl.data.prepare.folder import Split, prepare
from fedvssl.errors import ConfigError


def run(root, levels=('label',), split=None):
    lines = list(prepare(root, root / 'annotations.csv', levels, split))
    return rows_of(root / 'annotations.csv'), lines


def test_classes_golden(tmp_path):
    root = touch(tmp_path, 'walk/b.mp4', 'walk/a.AVI', 'fall, twice/1.mkv', 'Run/0001/img_00001.jpg',
                 'Run/0001/img_00002.jpg', 'Run/0002.zip', 'walk/notes.txt', 'Run/0003/RGB_frames.zip')
    rows, lines = run(root)
    assert [tuple(row.values()) for row in rows] == [
        ('Run/0001', '1', 'Run'), ('Run/0002.zip', '1', 'Run'), ('Run/0003/RGB_frames.zip', '1', 'Run'),
        ('fall, twice/1.mkv', '0', 'fall, twice'), ('walk/a.AVI', '2', 'walk'), ('walk/b.mp4', '2', 'walk')]
    assert lines == [f'{root}/annotations.csv: 6 videos, 3 classes',
                     f'--cfg-options data.root={root} data.annotations=annotations.csv']
    assert [video.label for video in read_annotations(root / 'annotations.csv', root)] == [1, 1, 1, 0, 2, 2]


def test_levels_become_columns(tmp_path):
    root = touch(tmp_path, 'ward3/cam1/fall/x.mp4', 'ward3/cam2/walk/x.mp4', 'ward4/cam1/fall/y.mp4')
    rows, lines = run(root, ('site', 'camera', 'label'))
    assert rows[1] == {'path': 'ward3/cam2/walk/x.mp4', 'label': '1', 'class': 'walk', 'site': 'ward3',
                       'camera': 'cam2'}
    assert 'site: 2 values' in lines


def test_without_labels(tmp_path):
    rows, _ = run(touch(tmp_path, 'ward3/x.mp4', 'ward4/x.mp4'), ('site',))
    assert rows == [{'path': 'ward3/x.mp4', 'site': 'ward3'}, {'path': 'ward4/x.mp4', 'site': 'ward4'}]
    assert read_annotations(tmp_path / 'annotations.csv', tmp_path)[0].label == -1


def test_a_flat_directory(tmp_path):
    assert run(touch(tmp_path, 'x.mp4', 'y.mp4'), ())[0] == [{'path': 'x.mp4'}, {'path': 'y.mp4'}]


def test_pictures_beside_videos_do_not_count(tmp_path):
    root = touch(tmp_path, 'a/x.mp4', 'a/x.jpg', 'a/cover.png', 'cover.png', 'b/y.mp4')
    assert [row['path'] for row in run(root)[0]] == ['a/x.mp4', 'b/y.mp4']


@pytest.fixture
def many(tmp_path):
    return touch(tmp_path, *(f'{label}/{name}.mp4' for label in ('walk', 'fall') for name in distinct_names(500)))


def test_share_of_each_class(many):
    """Binomial: 100 of 500 expected, standard deviation 9; four of them are allowed."""
    rows, lines = run(many, split=Split(0.2))
    for label in ('walk', 'fall'):
        assert abs(sum(row['split'] == 'test' for row in rows if row['class'] == label) - 100) < 36
    assert lines[-1].endswith(' data.split_column=split data.train.split=train data.test.split=test')
    assert rows != run(many, split=Split(0.2, seed=8))[0]


def test_golden_split(tmp_path):
    """As shares of 2**64, hashlib's blake2b of seed, 'test-share' and 'a/0' ... are .67 .15 .06 .41 .62 .67 .60 .96."""
    root = touch(tmp_path, *(f'a/{number}.mp4' for number in range(8)))
    assert [row['split'] for row in run(root, split=Split(0.5))[0]] == ['train'] + ['test'] * 3 + ['train'] * 4
    assert [row['split'] for row in run(root, split=Split(0.1))[0]] == ['train'] * 2 + ['test'] + ['train'] * 5


def test_adding_a_video_moves_no_other(many):
    before = {row['path']: row['split'] for row in run(many, split=Split(0.2))[0]}
    touch(many, 'walk/aaa.mp4', 'another/x.mp4', 'walk/zzzz.mp4')
    after = {row['path']: row['split'] for row in run(many, split=Split(0.2))[0]}
    assert len(after) == len(before) + 3
    assert {path: after[path] for path in before} == before


def test_neither_the_order_nor_the_suffix_counts(tmp_path):
    one = touch(tmp_path / 'one', *(f'a/{name}.avi' for name in distinct_names(50)))
    two = touch(tmp_path / 'two', *(f'a/{name}.mp4' for name in reversed(distinct_names(50))))
    parts = [[row['split'] for row in run(root, split=Split(0.3))[0]] for root in (one, two)]
    assert parts[0] == parts[1]


def test_all_videos_of_a_person_stay_together(tmp_path):
    people = distinct_names(20)
    root = touch(tmp_path, *(f'{person}/{label}/{number}.mp4' for person in people for label in ('walk', 'fall')
                             for number in range(4)))
    rows, lines = run(root, ('person', 'label'), Split(0.3, 'person'))
    parts = {person: {row['split'] for row in rows if row['person'] == person} for person in people}
    assert all(len(part) == 1 for part in parts.values())
    held_out = sorted(person for person, part in parts.items() if part == {'test'})
    assert 1 < len(held_out) < 15
    assert f'test person: {", ".join(held_out)}' in lines


def test_a_split_without_a_side_names_a_seed_that_has_both(tmp_path, refused):
    root = touch(tmp_path, 'jack/a.mp4', 'lou/a.mp4')
    for seed in range(20):
        split = Split(0.2, 'person', seed)
        if len({split.part('jack'), split.part('lou')}) == 1:
            break
    message = refused(lambda: run(root, ('person',), split))
    assert f'--test-share 0.2 --seed {seed}: puts all 2 person into train; --seed ' in message
    better = int(message.split('--seed ')[2].split()[0])
    assert {row['split'] for row in run(root, ('person',), Split(0.2, 'person', better))[0]} == {'train', 'test'}


def test_classes_without_a_side_are_named(tmp_path):
    root = touch(tmp_path, *(f'walk/{number}.mp4' for number in range(40)), 'rare/1.mp4')
    _, lines = run(root, split=Split(0.2))
    assert any(line.startswith('note: 1 of 2 classes have no test videos, such as rare (1 videos)') for line in lines)


@pytest.mark.parametrize(('levels', 'split', 'reason'), [
    (('path',), None, "'path' is taken"), (('label', 'label'), None, 'twice there'), (('a b',), None, 'not one word'),
    (('split', 'label'), None, "'split' is taken"), (('label',), Split(0.0), 'above 0 and below 1'),
    (('label',), Split(1.5), 'above 0 and below 1'), (('label',), Split(float('nan')), 'above 0 and below 1'),
    (('person', 'label'), Split(0.2, 'persn'), "did you mean 'person'?"),
    (('label',), Split(0.2, 'label'), 'would hold whole classes out'),
])
def test_options_that_do_not_fit(tmp_path, refused, levels, split, reason):
    assert reason in refused(lambda: run(touch(tmp_path, 'a/x.mp4'), levels, split), error=ConfigError)


@pytest.mark.parametrize(('names', 'place', 'reason'), [
    (['a/x.mp4', 'a/b/y.mp4'], "'a/b/y.mp4'", 'lies 2 directories deep, --levels names 1 (label)'),
    (['a/x.mp4', 'y.mp4'], "'y.mp4'", 'lies 0 directories deep'),
    (['a/x.mp4', 'b/img_1.jpg'], "'b'", 'lies 0 directories deep'),
    (['a/x.mp4', 'a/\udcff.mp4'], "'a/\\udcff.mp4'", 'is not UTF-8'),
])
def test_what_is_elsewhere_is_named(tmp_path, refused, names, place, reason):
    assert reason in refused(lambda: run(touch(tmp_path, *names)), place)


@pytest.mark.parametrize('name', [' a/x.mp4', 'a/x\n.mp4', 'a\t/x.mp4'])
def test_names_that_no_list_can_hold(tmp_path, refused, name):
    assert 'rename the file' in refused(lambda: run(touch(tmp_path, name)))
    assert [path.name for path in tmp_path.iterdir()] == [name.split('/')[0]]


def test_nothing_there(tmp_path, refused):
    assert 'holds no videos' in refused(lambda: run(touch(tmp_path, 'a/x.txt')))
    assert 'no such directory' in refused(lambda: run(tmp_path / 'no'))
