import os

import pytest
from official_lists import prepared, rows_of, touch, ucf_lists, ucf_names

from fedvssl.data.prepare import kinetics400, ucf101
from fedvssl.data.prepare.locate import locate
from fedvssl.data.prepare.walk import walk
from fedvssl.errors import ConfigError

CLIP = 'AAAAAAAAAAA_000012_000022'


@pytest.fixture
def ucf(tmp_path):
    return ucf101.read(ucf_lists(tmp_path / 'lists'))


@pytest.fixture
def clip(tmp_path):
    """A catalogue of one clip of ``tai chi``."""
    file = tmp_path / 'train.txt'
    file.write_text(f'tai_chi/{CLIP} 1\n')
    return kinetics400.read([file])


def stems(names):
    return [name.removesuffix('.avi') for name in names]


@pytest.mark.parametrize('layout', [
    '{folder}/{name}.avi', '{name}.avi', '{folder}/{name}.AVI', 'UCF-101/{folder}/{name}.mp4', '{name}.mkv',
    'a/b/c/{name}.webm', 'zips/{folder}/{name}.zip', 'zips/{name}.zip', '{folder}/{name}/RGB_frames.zip'])
def test_layouts_of_files(ucf, tmp_path, layout):
    names = [layout.format(folder=name.split('/')[0], name=name.split('/')[1]) for name in stems(ucf_names())]
    rows, lines = prepared(ucf, touch(tmp_path / 'videos', *names))
    assert [row['path'] for row in rows] == sorted(names, key=lambda name: (
        ucf.classes.index(name.split('v_')[1].split('_')[0]), name))
    assert 'UCF-101: 9 of 9 found' in lines


@pytest.mark.parametrize('image', ['img_00001.jpg', '00001.png', 'frame-1.JPEG', 'flow_x_00001.jpg'])
def test_directories_of_frames(ucf, tmp_path, image):
    root = touch(tmp_path / 'videos', *(f'{name}/{image}' for name in stems(ucf_names())))
    assert [row['path'] for row in prepared(ucf, root)[0]][0] == 'Archery/v_Archery_g01_c01'


def test_a_directory_of_frames_is_not_read_to_its_end(tmp_path, monkeypatch):
    root = touch(tmp_path, *(f'clip/img_{number:05}.jpg' for number in range(50)))
    looked_at = []
    scandir = os.scandir

    class Counting:
        def __init__(self, path):
            self._entries = scandir(path)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._entries.close()

        def __iter__(self):
            for entry in self._entries:
                looked_at.append(entry.name)
                yield entry

    monkeypatch.setattr(os, 'scandir', Counting)
    assert [found.path for found in walk(root, lambda folders: True).videos] == ['clip']
    assert len(looked_at) == 2


def test_the_directory_of_the_class_breaks_a_tie(clip, tmp_path):
    root = touch(tmp_path / 'videos', f'all/{CLIP}.mp4', f'train/Tai_Chi/{CLIP}.mp4', f'yoga/{CLIP}.mp4')
    assert locate(clip, root).paths == [f'train/Tai_Chi/{CLIP}.mp4']


def test_two_files_of_one_name_are_refused_unless_one_kind_is_preferred(clip, tmp_path, refused):
    root = touch(tmp_path / 'videos', f'tai chi/{CLIP}.mp4', f'tai chi/{CLIP}.avi', f'tai chi/{CLIP}/img_1.jpg')
    message = refused(lambda: locate(clip, root), f'tai_chi/{CLIP}')
    assert f'is there as tai chi/{CLIP} and as tai chi/{CLIP}.avi; give a narrower directory' in message
    assert locate(clip, root, '.mp4').paths == [f'tai chi/{CLIP}.mp4']
    assert locate(clip, root, 'frames').paths == [f'tai chi/{CLIP}']
    assert "did you mean '.mp4'?" in refused(lambda: locate(clip, root, 'mp4'), error=ConfigError)
    refused(lambda: locate(clip, root, '.zip'), f'tai_chi/{CLIP}')


def test_names_of_kinetics_differ_in_case(tmp_path):
    file = tmp_path / 'train.txt'
    file.write_text(f'tai_chi/{CLIP} 1\ntai_chi/{CLIP.lower()} 1\n')
    root = touch(tmp_path / 'videos', f'{CLIP}.mp4')
    assert locate(kinetics400.read([file]), root).paths == [f'{CLIP}.mp4', '']


def test_missing_videos_are_counted_and_listed(ucf, tmp_path):
    root = touch(tmp_path / 'videos', *ucf_names()[2:], 'Archery/v_Archery_g09_c01.avi', 'old/x/img_1.jpg')
    rows, lines = prepared(ucf, root)
    missing = root / 'annotations.missing.csv'
    assert f'UCF-101: 7 of 9 found; 2 missing, listed in {missing}' in lines
    assert ("2 videos that no list names were left out, such as 'Archery/v_Archery_g09_c01.avi', 'old/x'") in lines
    assert 'split1: 2 test, 5 train' in lines
    assert missing.read_text() == ('name,class,group,split1,split2,split3\n'
                                   'Archery/v_Archery_g01_c01.avi,Archery,Archery_g01,test,train,train\n'
                                   'Archery/v_Archery_g02_c01.avi,Archery,Archery_g02,train,test,train\n')
    prepared(ucf, touch(root, *ucf_names()))
    assert not missing.exists()


def test_nothing_found_is_an_error(ucf, tmp_path, refused):
    root = touch(tmp_path / 'videos', 'Other/x.mp4')
    message = refused(lambda: locate(ucf, root))
    assert 'none of the 9 listed videos is there, such as Archery/v_Archery_g01_c01.avi' in message
    assert "it holds 1 others, such as 'Other/x.mp4'" in message
    assert 'no such directory' in refused(lambda: locate(ucf, root / 'no'))


def test_links_and_hidden_files_are_not_followed(ucf, tmp_path, refused):
    outside = touch(tmp_path / 'outside', *ucf_names())
    root = touch(tmp_path / 'videos', *ucf_names()[1:], '.Trash/Archery/v_Archery_g01_c01.avi',
                 'Archery/._v_Archery_g02_c01.avi')
    (root / ucf_names()[0]).symlink_to(outside / ucf_names()[0])
    (root / 'loop').symlink_to(root)
    _, lines = prepared(ucf, root)
    assert 'UCF-101: 8 of 9 found; 1 missing, listed in ' + str(root / 'annotations.missing.csv') in lines
    assert "2 symbolic links were not followed, such as 'Archery/v_Archery_g01_c01.avi'" in lines
    (tmp_path / 'links').mkdir()
    (tmp_path / 'links' / 'all').symlink_to(outside)
    assert '1 symbolic links were not followed' in refused(lambda: locate(ucf, tmp_path / 'links'))
    assert all(locate(ucf, tmp_path / 'links' / 'all').paths)  # the directory itself may be a link


def test_a_thumbnail_beside_videos_makes_no_directory_of_frames(ucf, tmp_path):
    root = touch(tmp_path / 'videos', *ucf_names(), *(f'{name}.jpg' for name in stems(ucf_names())), 'cover.png')
    assert 'UCF-101: 9 of 9 found' in prepared(ucf, root)[1]


def test_a_directory_that_cannot_be_read_is_named(ucf, tmp_path, refused, monkeypatch):
    root = touch(tmp_path / 'videos', *ucf_names())
    scandir = os.scandir

    def failing(path):
        if str(path).endswith('Hammering'):
            raise PermissionError(13, 'Permission denied')
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', failing)
    assert refused(lambda: locate(ucf, root)).startswith(f'{root}/Hammering: cannot be read (Permission denied)')


def test_the_list_itself_and_the_archives_do_not_count(ucf, tmp_path):
    root = touch(tmp_path / 'videos', *ucf_names(), 'UCF101.zip')
    assert locate(ucf, root).unlisted == ['UCF101.zip']
    assert locate(ucf, root, ignore=[root / 'UCF101.zip']).unlisted == []


def test_running_again_gives_the_same_bytes(ucf, tmp_path):
    root = touch(tmp_path / 'videos', *ucf_names())
    prepared(ucf, root)
    first = (root / 'annotations.csv').read_bytes()
    prepared(ucf, root)
    assert (root / 'annotations.csv').read_bytes() == first
    assert sorted(path.name for path in root.iterdir()) == ['Archery', 'HammerThrow', 'Hammering', 'annotations.csv']
    assert len(rows_of(root / 'annotations.csv')) == 9
